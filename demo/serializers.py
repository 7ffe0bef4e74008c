"""What the API says of uploads, and what it takes."""

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from demo.models import Upload


@extend_schema_field({"type": "string", "format": "uri-reference"})
class LocationField(serializers.FileField):
    """A file's address: a path of this site, or S3's own address; null if there is none."""

    def to_representation(self, value: object) -> str | None:
        """Return the address as the storage gives it, which is right behind any proxy."""
        return value.url if value else None  # type: ignore[attr-defined]


class UploadSerializer(serializers.ModelSerializer):
    """An upload as its owner sees it."""

    image = LocationField(read_only=True)
    thumbnail = LocationField(read_only=True, allow_null=True)
    sha256 = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()

    class Meta:
        """All of it is for reading."""

        model = Upload
        fields = (
            "id",
            "name",
            "status",
            "image",
            "thumbnail",
            "sha256",
            "bytes",
            "width",
            "height",
            "created",
            "finished",
            "error",
        )
        read_only_fields = fields

    def get_sha256(self, upload: Upload) -> str | None:
        """Return the checksum; null until the worker has made it."""
        return upload.sha256 or None

    def get_error(self, upload: Upload) -> str | None:
        """Return why it failed; null if it did not."""
        return upload.error or None


class NewUploadSerializer(serializers.Serializer):
    """A image that is sent."""

    image = serializers.FileField(
        # The view checks the size: too large is a 413.
        max_length=None,
        help_text="JPEG, PNG, GIF or WebP.",
    )

    def validate_image(self, file: UploadedFile) -> UploadedFile:
        """Check the size against UPLOAD_MAX_MB, in megabytes of 1,000,000 bytes.

        Raises:
            ValidationError: the image is too large; its code is `too_large`.
        """
        if (file.size or 0) > settings.UPLOAD_MAX_MB * 1_000_000:
            raise serializers.ValidationError(too_large(), code="too_large")
        return file


def too_large() -> str:
    """Return the answer to an image of too many bytes."""
    return f"The image is too large: the limit is {settings.UPLOAD_MAX_MB} MB."
