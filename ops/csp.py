"""The Content-Security-Policy: its mode, its rules by path, and the storage's origin."""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from csp.constants import HEADER, HEADER_REPORT_ONLY, NONE
from csp.middleware import CheckableLazyObject, CSPMiddleware, PolicyParts
from csp.utils import DEFAULT_DIRECTIVES
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.files.storage import default_storage
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase

logger = logging.getLogger(__name__)

# Policies as headers, by what decides them (`policy_key`).
built: dict[tuple[str, ...], list[tuple[str, str]]] = {}
HEADERS = (HEADER, HEADER_REPORT_ONLY)
# The nonce after the response, whose policy can no longer allow it.
TOO_LATE = CheckableLazyObject(CSPMiddleware._csp_nonce_post_response)


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """Send CONTENT_SECURITY_POLICY as CSP_MODE says; pages may show images of the storage, too."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Send the policy; that of responses without one of their own is built once."""
        if has_own_policy(request, response):
            return self.build(request, response)
        key = policy_key(request, response)
        if key in built:
            for name, policy in built[key]:
                response.headers[name] = policy
            request.csp_nonce = TOO_LATE
            return response
        response = self.build(request, response)
        # With DEBUG some statuses have none.
        if not settings.DEBUG:
            built[key] = [(name, response[name]) for name in HEADERS if name in response]
        return response

    def build(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Send no policy, one that browsers only report on, or one that they enforce."""
        if settings.CSP_MODE == "off":
            return response
        own = HEADER in response
        response = super().process_response(request, response)
        # A view's own policy, such as a sandbox, stays in force.
        if settings.CSP_MODE == "report-only" and HEADER in response and not own:
            response[HEADER_REPORT_ONLY] = response[HEADER]
            del response[HEADER]
        return response

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Add the sources of the path's rules, and for pages, which alone show images, the storage.

        A directive that allows nothing loses its 'none', which no other source can accompany.
        """
        parts: PolicyParts = super().get_policy_parts(request, response, report_only)
        added = [parts.update or {}, *rules_of(request.path_info)]
        if origin := image_origin(response):
            added.append({"img-src": [origin]})
        # A project's own settings may have no policy, and get django-csp's default.
        directives = getattr(settings, "CONTENT_SECURITY_POLICY", {}).get("DIRECTIVES", {})
        parts.update, parts.replace = {}, dict(parts.replace or {})
        for rule in added:
            for name, sources in rule.items():
                more = [sources] if isinstance(sources, str) else list(sources)
                parts.update[name] = [*parts.update.get(name, []), *more]
                if list(directives.get(name) or []) == [NONE]:
                    parts.replace.setdefault(name, [])
        return parts


def rules() -> Mapping[str, Mapping[str, Any]]:
    """Return what CONTENT_SECURITY_POLICY_PATHS adds, by path."""
    return getattr(settings, "CONTENT_SECURITY_POLICY_PATHS", {})


def rules_of(path: str) -> list[Mapping[str, Any]]:
    """Return what CONTENT_SECURITY_POLICY_PATHS adds for a path."""
    return [sources for prefix, sources in rules().items() if path.startswith(prefix)]


def has_own_policy(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Return whether a view, an error page or a template's nonce has a say in the policy."""
    return (
        HEADER in response.headers
        or HEADER_REPORT_ONLY in response.headers
        or "_csp_nonce" in vars(request)
        or any(name.startswith("_csp") for name in vars(response))
    )


def policy_key(request: HttpRequest, response: HttpResponseBase) -> tuple[str, ...]:
    """Return what else decides a policy: the storage's origin, and the paths with rules."""
    path = request.path_info
    return (image_origin(response), *(prefix for prefix in prefixes() if path.startswith(prefix)))


@cache
def prefixes() -> tuple[str, ...]:
    """Return every path that a setting of policies names."""
    policies = (
        getattr(settings, name, None) or {}
        for name in ("CONTENT_SECURITY_POLICY", "CONTENT_SECURITY_POLICY_REPORT_ONLY")
    )
    excluded = (policy.get("EXCLUDE_URL_PREFIXES") or () for policy in policies)
    return (*rules(), *(prefix for one in excluded for prefix in one))


def image_origin(response: HttpResponseBase) -> str:
    """Return the storage's origin for a page, which alone shows images, or nothing."""
    is_page = response.headers.get("Content-Type", "").startswith("text/html")
    if not is_page:
        return ""
    try:
        return storage_origin()
    except Exception as error:  # the storage's own, such as missing credentials of S3
        logger.warning("the storage does not report the URL of uploads: %s", error)
        return ""


@cache
def storage_origin() -> str:
    """Return the origin that uploads are fetched from, or nothing where it is the site's own."""
    parts = urlsplit(default_storage.url("any"))
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


@receiver(setting_changed)
def forget(**_: Any) -> None:
    """Build policies again when a test changes a setting."""
    built.clear()
    prefixes.cache_clear()
    storage_origin.cache_clear()


@register("security")
def check_rules(**_: Any) -> list[CheckMessage]:
    """Refuse rules that would do nothing or break the header."""
    warnings = []
    for prefix, sources in rules().items():
        if not prefix.startswith("/"):
            warnings.append((prefix, "begin the path with a slash"))
        for name, values in sources.items():
            if name not in DEFAULT_DIRECTIVES:
                warnings.append((prefix, f"{name!r} is not a directive"))
            elif isinstance(values, str) or any(set(value) & set(" ;,") for value in values):
                warnings.append((prefix, f"list the sources of {name!r}, each on its own"))
    return [
        Error(
            f"CONTENT_SECURITY_POLICY_PATHS[{prefix!r}]: {problem}.",
            hint='For example: {"/map/": {"img-src": ["https://tiles.example.com"]}}.',
            id="ops.E001",
        )
        for prefix, problem in warnings
    ]
