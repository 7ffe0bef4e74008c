"""What the API's description says of each endpoint beyond what its code tells by itself.

https://drf-spectacular.readthedocs.io/en/latest/customization.html
"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers

from api.serializers import NewUploadSerializer, UploadSerializer

Endpoint = tuple[str, str, str, Any]
Decorator = Any

# What the status page's own script asks for may change with the page.
UNDESCRIBED = {"/api/status/", "/profile"}

DETAIL = inline_serializer("Detail", {"detail": serializers.CharField()})
MESSAGES = {"type": "array", "items": {"type": "string"}}
# One message, or messages for each field.
PROBLEMS = {"type": "object", "additionalProperties": {"oneOf": [{"type": "string"}, MESSAGES]}}

BAD_REQUEST = {400: OpenApiResponse(PROBLEMS, "What is wrong, by the field.")}
REFUSALS = {
    401: OpenApiResponse(DETAIL, "No credentials, or wrong ones."),
    403: OpenApiResponse(DETAIL, "A session without its CSRF token, or no right to this."),
    404: OpenApiResponse(DETAIL, "There is none, or it is another user's."),
    406: OpenApiResponse(DETAIL, "No such form of the answer."),
    413: OpenApiResponse(DETAIL, "More bytes than are taken."),
    415: OpenApiResponse(DETAIL, "The body is of a kind that is not taken."),
    429: OpenApiResponse(DETAIL, "Too many requests; Retry-After says when again."),
    503: OpenApiResponse(DETAIL, "A component is away; Retry-After says when to try again."),
}
RETRY_AFTER = OpenApiParameter(
    "Retry-After",
    int,
    OpenApiParameter.HEADER,
    response=[429, 503],
    description="Seconds until it is worth another try.",
)
PAGE_SIZE = OpenApiParameter(
    "page_size",
    {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    description="How many on a page.",
)
PROFILE_FIELDS = {
    "settings": serializers.CharField(required=False, help_text="The layer, such as production."),
    "server": serializers.CharField(required=False, help_text="Which server answers."),
    "release": serializers.CharField(required=False),
    "hostname": serializers.CharField(required=False),
    "django": serializers.CharField(required=False),
    "python": serializers.CharField(required=False),
    "debug": serializers.BooleanField(required=False),
}


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
        parameters: what may stand in its query.
        more: further arguments of `extend_schema`.
    """
    every = {401, 406, 503}
    found = {status: REFUSALS[status] for status in sorted({*every, *refusals})}
    return extend_schema(
        summary=summary,
        responses={**answers, **found},
        parameters=[*parameters, RETRY_AFTER],
        **more,
    )


HITS = OpenApiResponse(
    inline_serializer(
        "Hits",
        {
            "hits": serializers.IntegerField(min_value=0),
            "server": serializers.CharField(help_text="Which server answers."),
        },
    ),
    "The visits so far.",
)

read_hits = described("Read the visit counter", {200: HITS}, 429)
count_hit = described("Count one visit", {200: HITS}, 403, 429, request=None)

list_uploads = described(
    "List your uploads, newest first",
    {200: UploadSerializer(many=True), **BAD_REQUEST},
    *(404, 429),
    description="",
    parameters=(PAGE_SIZE,),
)
send_upload = described(
    "Send a picture",
    {201: OpenApiResponse(UploadSerializer, "Kept and queued."), **BAD_REQUEST},
    *(403, 413, 415, 429),
    description="It is worked on afterwards: queued, running, then done or failed.",
    request={"multipart/form-data": NewUploadSerializer},
)
read_upload = described("Read one of your uploads", {200: UploadSerializer}, 404, 429)

read_profile = described(
    "Read which settings are active, and where",
    {
        (200, "application/json"): inline_serializer("Profile", PROFILE_FIELDS),
        (200, "text/plain"): OpenApiTypes.STR,
    },
    404,
    parameters=(OpenApiParameter("format", {"type": "string", "pattern": "^(json|txt)?$"}),),
)
get_token = described(
    "Get your token, for your name and password",
    {200: inline_serializer("Token", {"token": serializers.CharField()}), **BAD_REQUEST},
    *(415, 429),
    auth=[],
)
