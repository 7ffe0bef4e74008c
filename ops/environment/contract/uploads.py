"""The worker; uploads, and where files are kept."""

from __future__ import annotations

from typing import Final

from ops.environment import validators
from ops.environment.variable import Kind, Section, Variable

WORKER: Final = Section(
    "Worker",
    "The Celery worker, which runs background tasks.",
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
            help="Time limit of a task in seconds. A task that takes longer is stopped.",
            default="60",
            minimum=1,
            maximum=86_400,
        ),
        Variable(
            name="TASK_VISIBILITY_SECONDS",
            kind=Kind.INT,
            help="Seconds after which Redis redelivers a message that no worker has acknowledged.",
            default="3600",
            minimum=60,
            maximum=604_800,
        ),
        Variable(
            name="WORKER_HEARTBEAT_FILE",
            kind=Kind.PATH,
            help="The worker touches this file while it is healthy.",
            default="var/worker-heartbeat",
        ),
    ),
)

UPLOADS: Final = Section(
    "Uploads",
    "Upload limits and storage: MEDIA_ROOT, or S3 if a bucket is set.",
    (
        Variable(
            name="UPLOAD_MAX_MB",
            kind=Kind.INT,
            help="The largest upload in megabytes, for Django and all servers in front of it.",
            default="10",
            minimum=1,
            maximum=1000,
        ),
        Variable(
            name="UPLOAD_TEMP_DIR",
            help="Folder of uploaded files while their request runs; the images set /srv/bodies. "
            "Empty: "
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
            help="URL of an S3 server other than Amazon's.",
            validate=validators.origin,
        ),
        Variable(
            name="AWS_S3_ADDRESSING_STYLE",
            kind=Kind.CHOICE,
            help="How URLs name the bucket. Self-hosted servers often need path.",
            choices=("auto", "path", "virtual"),
            default="auto",
        ),
        Variable(
            name="AWS_ACCESS_KEY_ID",
            help="The access key for S3. Not needed where the machine has an IAM role.",
            secret=True,
        ),
        Variable(name="AWS_SECRET_ACCESS_KEY", help="The secret of that key.", secret=True),
    ),
)
