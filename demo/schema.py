"""What the API's description says of the demo's endpoints."""

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from demo.serializers import NewUploadSerializer, UploadSerializer
from ops.schema import BAD_REQUEST, described

PAGE_SIZE = OpenApiParameter(
    "page_size",
    {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    description="Uploads per page.",
)
HITS = OpenApiResponse(
    inline_serializer(
        "Hits",
        {
            "hits": serializers.IntegerField(min_value=0),
            "server": serializers.CharField(help_text="The server that answered."),
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
    "Send an image",
    {201: OpenApiResponse(UploadSerializer, "Stored and queued."), **BAD_REQUEST},
    *(403, 413, 415, 429),
    description="A worker processes it: queued, running, then done or failed.",
    request={"multipart/form-data": NewUploadSerializer},
)
read_upload = described("Read one of your uploads", {200: UploadSerializer}, 404, 429)
