"""A bucket on the S3 server of the tests, and its Django storage."""

from typing import Any

import boto3

from ops import environment
from ops.settings.backing import file_storage

BUCKET = "files"
REGION = "eu-central-1"


def storage(endpoint: str, **variables: str) -> dict[str, Any]:
    """Return the Django storage that the settings build from these variables."""
    named = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
        "AWS_STORAGE_BUCKET_NAME": BUCKET,
        "AWS_S3_ENDPOINT_URL": endpoint,
        "AWS_S3_REGION_NAME": REGION,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    return file_storage(environment.load({**named, **variables}))


def empty_bucket(endpoint: str) -> Any:
    """Return the bucket, emptied."""
    s3 = boto3.resource(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    bucket = s3.Bucket(BUCKET)
    if bucket.creation_date is None:
        bucket.create(CreateBucketConfiguration={"LocationConstraint": REGION})
    bucket.objects.delete()
    return bucket
