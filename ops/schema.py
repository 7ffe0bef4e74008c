"""What the API's description says of each endpoint beyond what its code says.

https://drf-spectacular.readthedocs.io/en/latest/customization.html
"""

from typing import Any

from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers

Endpoint = tuple[str, str, str, Any]
Decorator = Any

# What only the status page's script requests, and may change with the page.
UNDESCRIBED = {"/status/report/", "/profile"}

DETAIL = inline_serializer("Detail", {"detail": serializers.CharField()})
MESSAGES = {"type": "array", "items": {"type": "string"}}
# One message, or messages for each field.
PROBLEMS = {"type": "object", "additionalProperties": {"oneOf": [{"type": "string"}, MESSAGES]}}

BAD_REQUEST = {400: OpenApiResponse(PROBLEMS, "Errors, by field.")}
REFUSALS = {
    401: OpenApiResponse(DETAIL, "Missing or invalid credentials."),
    403: OpenApiResponse(DETAIL, "Permission denied, or a session without its CSRF token."),
    404: OpenApiResponse(DETAIL, "Not found."),
    406: OpenApiResponse(DETAIL, "No acceptable media type."),
    413: OpenApiResponse(DETAIL, "The body is too large."),
    415: OpenApiResponse(DETAIL, "Unsupported media type."),
    429: OpenApiResponse(DETAIL, "Too many requests. Retry-After has the seconds to wait."),
    503: OpenApiResponse(DETAIL, "A component is down. Retry-After has the seconds to wait."),
}
RETRY_AFTER = OpenApiParameter(
    "Retry-After",
    int,
    OpenApiParameter.HEADER,
    response=[429, 503],
    description="Seconds to wait before the next try.",
)


def public_paths(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Leave out what is not for others, and second spellings."""
    return [endpoint for endpoint in endpoints if endpoint[0] not in UNDESCRIBED]


def described(
    summary: str,
    answers: dict[Any, Any],
    *refusals: int,
    parameters: tuple[OpenApiParameter, ...] = (),
    **more: Any,
) -> Decorator:
    """Return the decorator of one operation.

    Args:
        summary: one line that says what it does.
        answers: its answers when it goes well, by their status.
        refusals: the statuses of REFUSALS that it may answer with besides those of every one.
        parameters: the query's.
        more: further arguments of `extend_schema`.
    """
    every = {401, 406, 503}
    responses = {status: REFUSALS[status] for status in sorted({*every, *refusals})}
    return extend_schema(
        summary=summary,
        responses={**answers, **responses},
        parameters=[*parameters, RETRY_AFTER],
        **more,
    )
