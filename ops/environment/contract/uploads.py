"""The worker; uploads, and where files are kept."""

from __future__ import annotations

from typing import Final

from ops.environment import validators
from ops.environment.variable import Kind, Section, Variable

WORKER: Final = Section(
    "Worker",
    "The process that does the work behind the requests.",
    (
        Variable(
            name="WORKER_CONCURRENCY",
            kind=Kind.INT,
            help="Tasks that a worker runs at a time, each in its own process.",
            default="2",
            minimum=1,
            maximum=64,
        ),
        Variable(
            name="TASK_SECONDS",
            kind=Kind.INT,
            help="How long a task may take. A longer one is ended.",
            default="60",
            minimum=1,
            maximum=86_400,
        ),
        Variable(
            name="TASK_VISIBILITY_SECONDS",
            kind=Kind.INT,
            help="Redis gives a message that no worker has acknowledged to another one after this.",
            default="3600",
            minimum=60,
            maximum=604_800,
        ),
        Variable(
            name="WORKER_HEARTBEAT_FILE",
            kind=Kind.PATH,
            help="The worker touches this file while it is well.",
            default="var/worker-heartbeat",
        ),
    ),
)

UPLOADS: Final = Section(
    "Uploads",
    "What may be uploaded, and where it is kept: in MEDIA_ROOT, or in S3 if a bucket is named.",
    (
        Variable(
            name="UPLOAD_MAX_MB",
            kind=Kind.INT,
            help="The largest upload in megabytes, for Django and every server before it.",
            default="10",
            minimum=1,
            maximum=1000,
        ),
        Variable(
            name="UPLOAD_TEMP_DIR",
            help="Where a request's files are while it runs; the images set /srv/bodies. Empty: "
            "the system's temporary folder.",
        ),
        # remove_demo: begin
        Variable(
            name="UPLOAD_MAX_MEGAPIXELS",
            kind=Kind.INT,
            help="The largest image in million pixels; a worker may need 20 bytes for each.",
            default="40",
            minimum=1,
            maximum=200,
        ),
        # remove_demo: end
        Variable(name="AWS_STORAGE_BUCKET_NAME", help="Keep files in this S3 bucket."),
        Variable(name="AWS_S3_REGION_NAME", help="The bucket's region."),
        Variable(
            name="AWS_S3_ENDPOINT_URL",
            kind=Kind.URL,
            help="The address of an S3 server that is not Amazon's.",
            validate=validators.origin,
        ),
        Variable(
            name="AWS_S3_ADDRESSING_STYLE",
            kind=Kind.CHOICE,
            help="How the bucket is named in addresses; many servers of one's own want path.",
            choices=("auto", "path", "virtual"),
            default="auto",
        ),
        Variable(
            name="AWS_ACCESS_KEY_ID",
            help="The key for S3; not needed where the machine has a role.",
            secret=True,
        ),
        Variable(name="AWS_SECRET_ACCESS_KEY", help="The key's secret part.", secret=True),
    ),
)
