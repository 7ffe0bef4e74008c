"""Which sources a page may load from, for the part of it that only the storage knows."""

import logging
from typing import Any
from urllib.parse import urlsplit

from csp.middleware import CSPMiddleware, PolicyParts
from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponseBase

logger = logging.getLogger(__name__)


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """Send CONTENT_SECURITY_POLICY; pages may show images from where uploads are kept, too."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Add the storage's origin for pages, which alone show images."""
        parts: PolicyParts = super().get_policy_parts(request, response, report_only)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if is_page and (origin := storage_origin()):
            update: dict[str, Any] = dict(parts.update or {})
            update["img-src"] = [*update.get("img-src", []), origin]
            parts.update = update
        return parts


def storage_origin() -> str:
    """Return the origin that uploads are fetched from, or nothing where it is the site's own."""
    try:
        parts = urlsplit(default_storage.url("any"))
    except Exception as error:  # the storage's own, such as missing credentials of S3
        logger.warning("the storage does not say where uploads are fetched from: %s", error)
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
