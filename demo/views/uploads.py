"""/api/uploads/: images of signed-in users."""

import logging
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import UnreadablePostError
from drf_spectacular.utils import extend_schema_view
from rest_framework import generics, status
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from demo import schema
from demo.intake import store_upload
from demo.models import Upload
from demo.serializers import NewUploadSerializer, UploadSerializer, too_large
from demo.uploads import images
from ops.storage.local import is_outage

logger = logging.getLogger(__name__)

# Of a form, around the image in it.
FORM_BYTES = 1_000_000


class TooLargeError(APIException):
    """The body is too large."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE

    def __init__(self) -> None:
        """Say the limit."""
        super().__init__(too_large(), "too_large")


class StorageUnavailableError(APIException):
    """The image cannot be stored right now."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The image cannot be stored right now. Please try again shortly."
    default_code = "storage_unavailable"
    # DRF makes a Retry-After header of it.
    wait = 5


class UploadPages(PageNumberPagination):
    """Pages of 20, or of page_size, up to 100."""

    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100

    def get_page_size(self, request: Request) -> int:
        """Return how many uploads a page has.

        Raises:
            ValidationError: page_size is not a number from 1 to 100.
        """
        text = request.query_params.get(self.page_size_query_param, str(self.page_size))
        # As ASCII: int() takes the digits of every script. Nine of them: it refuses thousands.
        digits = text.lstrip("0")[:9] or "0"
        if not (text.isascii() and text.isdigit() and 0 < int(digits) <= self.max_page_size):
            raise ValidationError(
                {self.page_size_query_param: [f"Use a number from 1 to {self.max_page_size}."]}
            )
        return int(digits)


class OwnUploadsMixin:
    """The user's own uploads; other users' are 404."""

    serializer_class = UploadSerializer
    request: Request

    def get_queryset(self) -> QuerySet[Upload]:
        """Return the user's uploads, newest first."""
        return Upload.objects.filter(owner=self.request.user.pk)


@extend_schema_view(get=schema.list_uploads, post=schema.send_upload)
class UploadListView(OwnUploadsMixin, generics.ListCreateAPIView):
    """List one's uploads, or send an image."""

    parser_classes = (MultiPartParser,)
    pagination_class = UploadPages

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Keep an image and queue it: 201, before it is processed.

        Raises:
            ValidationError: it is not accepted as an image.
            TooLargeError, ParseError: as `uploaded_file`.
            StorageUnavailableError: the disk or S3 is down.
        """
        file = self.uploaded_file(request)
        try:
            info = images.examine(file, settings.UPLOAD_MAX_MEGAPIXELS)
        except images.ImageError as error:
            raise ValidationError({"image": [str(error)]}) from error
        try:
            upload = store_upload(request.user, file, info)
        except Exception as error:
            if not is_outage(error):
                raise
            logger.error("storage unavailable: %s", error)
            raise StorageUnavailableError from error
        return Response(UploadSerializer(upload).data, status=status.HTTP_201_CREATED)

    def uploaded_file(self, request: Request) -> Any:
        """Return the file that was sent, if its size is accepted.

        Raises:
            TooLargeError: the body is larger than UPLOAD_MAX_MB allows.
            ParseError: the request ended too early.
            ValidationError: there is no file.
        """
        if int(request.META.get("CONTENT_LENGTH") or 0) > (
            settings.UPLOAD_MAX_MB * 1_000_000 + FORM_BYTES
        ):
            raise TooLargeError
        try:
            form = NewUploadSerializer(data=request.data)
        except UnreadablePostError as error:
            raise ParseError("The request ended too early.") from error
        if form.is_valid():
            return form.validated_data["image"]
        if "too_large" in [problem.code for problem in form.errors.get("image", [])]:
            raise TooLargeError
        raise ValidationError(form.errors)


@extend_schema_view(get=schema.read_upload)
class UploadView(OwnUploadsMixin, generics.RetrieveAPIView):
    """One of the user's own uploads."""
