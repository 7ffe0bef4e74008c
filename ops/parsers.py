"""How bodies are read."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework import parsers, status
from rest_framework.exceptions import APIException, ParseError


class TooLargeError(APIException):
    """More bytes than are read into memory."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"

    def __init__(self) -> None:
        """Name the limit."""
        megabytes = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2**20
        super().__init__(f"The request is too large: the limit for JSON is {megabytes} MB.")


class JSONParser(parsers.JSONParser):
    """JSON; what is too large or nested too deeply is a client's mistake, as a malformed body."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the value.

        Raises:
            TooLargeError: it is longer than a body that is read into memory may be.
            ParseError: it is no JSON, or nested too deeply to be read.
        """
        request = (parser_context or {}).get("request")
        length = int(request.META.get("CONTENT_LENGTH") or 0) if request else 0
        if length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLargeError
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - it is nested too deeply.") from None
