"""How the files of a request are kept while it runs."""

from tempfile import SpooledTemporaryFile
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler


class UploadHandler(FileUploadHandler):
    """Keeps a file in memory up to FILE_UPLOAD_MAX_MEMORY_SIZE, else in FILE_UPLOAD_TEMP_DIR.

    There it has no name: it ends with its process, even a killed one.
    https://docs.djangoproject.com/en/5.2/ref/files/uploads/#writing-custom-upload-handlers
    """

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file."""
        super().new_file(*args, **kwargs)
        # For Django 0 is no memory, for SpooledTemporaryFile no limit.
        limit = settings.FILE_UPLOAD_MAX_MEMORY_SIZE or -1
        self.file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(  # noqa: SIM115
            limit, dir=settings.FILE_UPLOAD_TEMP_DIR
        )

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Add a part, which begins at byte `start` of the file, and comes in order."""
        self.file.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile:
        """Return the file of `file_size` bytes, to be read from its beginning."""
        self.file.seek(0)
        return UploadedFile(
            self.file,
            self.file_name,
            self.content_type,
            file_size,
            self.charset,
            self.content_type_extra,
        )

    def upload_interrupted(self) -> None:
        """Drop what has come of it."""
        self.file.close()
