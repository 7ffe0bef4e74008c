"""Static files in S3: of two releases at once, their headers, and errors."""

import gzip
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from django.core.management import CommandError, call_command
from django.templatetags.static import static
from pytest_django import Settings

from ops import environment
from ops.settings.backing import bucket_options
from ops.storage import static_bucket
from tests import guide
from tests.ports import free_port
from tests.team_values import required_values
from tests.tree import ROOT

# The name in the guide.
BUCKET = "mysite-static"
SECRET = "the-secret-key-of-the-test"
MANIFEST = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"


def resource(endpoint: str, kind: str) -> Any:
    """Return an AWS service as its owner uses it."""
    return boto3.resource(
        kind,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="owner",
        aws_secret_access_key=SECRET,
    )


@pytest.fixture
def bucket(endpoint: str, settings: Settings) -> Any:
    """Return an empty bucket with the policy of the guide, and store static files in it."""
    result = resource(endpoint, "s3").Bucket(BUCKET)
    result.create()
    result.objects.delete()
    result.Policy().put(Policy=guide.policy('"Principal": "*"', BUCKET))
    settings.STATIC_BUCKET = options(endpoint)
    return result


def options(endpoint: str, **variables: str) -> dict[str, Any]:
    """Return the settings for these variables."""
    env = environment.load(
        {
            "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
            "AWS_S3_ENDPOINT_URL": endpoint,
            "AWS_S3_REGION_NAME": "us-east-1",
            "AWS_ACCESS_KEY_ID": "owner",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            **variables,
        }
    )
    return bucket_options(env, BUCKET)


class Releases:
    """The static files of images, each in a separate folder."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    def collect(self, release: str, style: str) -> None:
        """Collect the files of a release, and make it the running one."""
        source = self.folder / release / "source"
        source.mkdir(parents=True)
        (source / "style.css").write_text(style + " " * 300)
        (source / "same.svg").write_text("<svg/>")
        (source / "letters.woff2").write_bytes(b"font")
        self.settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
        self.settings.STATICFILES_DIRS = [source]
        self.settings.STORAGES = {**self.settings.STORAGES, "staticfiles": {"BACKEND": MANIFEST}}
        self.settings.STATIC_ROOT = self.folder / release / "static"
        call_command("collectstatic", interactive=False, verbosity=0)
        style_file = next(self.settings.STATIC_ROOT.glob("style.*.css"))
        (self.settings.STATIC_ROOT / f"{style_file.name}.gz").write_bytes(
            gzip.compress(style_file.read_bytes())
        )


@pytest.fixture
def releases(tmp_path: Path, settings: Settings) -> Releases:
    """Return the releases, with a first one."""
    made = Releases(tmp_path, settings)
    made.collect("one", "a {}")
    return made


def names(bucket: Any) -> set[str]:
    """Return the names of the files in the bucket."""
    return {item.key for item in bucket.objects.all()}


def test_static_files_of_both_releases_are_public_in_the_bucket(
    endpoint: str, bucket: Any, releases: Releases
) -> None:
    assert static_bucket.upload() == (3, 3)
    first = names(bucket)
    releases.collect("two", "b {}")

    # Unchanged files keep their names, and are not uploaded again.
    assert static_bucket.upload() == (1, 3)
    assert len(names(bucket)) == 4 and first < names(bucket)
    result = {
        name: requests.get(f"{endpoint}/{BUCKET}/{name}", timeout=10) for name in names(bucket)
    }
    assert {answer.status_code for answer in result.values()} == {200}
    styles = sorted(answer.text.strip() for name, answer in result.items() if "style" in name)
    assert styles == ["a {}", "b {}"]


def test_only_the_static_folder_of_the_bucket_is_public(endpoint: str, bucket: Any) -> None:
    bucket.put_object(Key="private.txt", Body=b"")

    assert requests.get(f"{endpoint}/{BUCKET}/private.txt", timeout=10).status_code == 403


def test_static_files_are_uploaded_with_type_cache_and_encoding_headers(
    bucket: Any, releases: Releases
) -> None:
    static_bucket.upload()
    result = {item.key.rpartition(".")[2]: item.Object() for item in bucket.objects.all()}

    assert {kind: item.content_type for kind, item in result.items()} == {
        "css": "text/css; charset=utf-8",
        "svg": "image/svg+xml",
        "woff2": "font/woff2",
    }
    assert {item.cache_control for item in result.values()} == {static_bucket.CACHE_CONTROL}
    # Only files that the image has compressed.
    assert {kind for kind, item in result.items() if item.content_encoding == "gzip"} == {"css"}


def test_only_missing_static_files_are_uploaded(bucket: Any, releases: Releases) -> None:
    static_bucket.upload()
    before = {item.key: item.last_modified for item in bucket.objects.all()}
    gone = next(name for name in before if "style" in name)
    bucket.Object(gone).delete()

    assert static_bucket.upload() == (1, 3)
    assert static_bucket.upload() == (0, 3)
    after = {item.key: item.last_modified for item in bucket.objects.all()}
    assert before.keys() == after.keys()
    del before[gone], after[gone]
    assert before == after


def test_static_urls_need_no_request_to_the_bucket(releases: Releases, settings: Settings) -> None:
    settings.STATIC_URL = "https://cdn.example.com/static/"
    settings.STATIC_BUCKET = options("http://127.0.0.1:1")

    assert re.fullmatch(
        r"https://cdn\.example\.com/static/style\.[0-9a-f]{12}\.css", static("style.css")
    )


def test_parallel_uploads_of_static_files_are_safe(bucket: Any, releases: Releases) -> None:
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: static_bucket.upload(), range(4)))

    assert {count for _, count in done} == {3}
    assert len(names(bucket)) == 3
    assert static_bucket.upload() == (0, 3)


def test_role_of_the_guide_has_exactly_the_needed_s3_permissions(
    endpoint: str,
    bucket: Any,
    releases: Releases,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = resource(endpoint, "iam").create_user(UserName="instance")
    policy = json.loads(guide.policy("s3:PutObject", "secretsmanager"))
    user.create_policy(PolicyName="mysite", PolicyDocument=json.dumps(policy))
    pair = user.create_access_key_pair()
    settings.STATIC_BUCKET = options(
        endpoint, AWS_ACCESS_KEY_ID=pair.id, AWS_SECRET_ACCESS_KEY=pair.secret
    )
    with monkeypatch.context() as strict:
        strict.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
        assert static_bucket.upload() == (3, 3)
    for action, call in {"s3:ListBucket": "ListObjectsV2", "s3:PutObject": "PutObject"}.items():
        bucket.objects.delete()
        less = [one for one in policy["Statement"] if one["Action"] != action]
        user.Policy("mysite").put(PolicyDocument=json.dumps({**policy, "Statement": less}))
        with monkeypatch.context() as strict:
            strict.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
            with pytest.raises(CommandError, match=f"AccessDenied to {call}. Allow s3:ListBucket"):
                call_command("upload_static")


def test_missing_static_bucket_is_reported(bucket: Any, releases: Releases) -> None:
    bucket.objects.delete()
    bucket.delete()

    with pytest.raises(CommandError, match=f"{BUCKET}: .*NoSuchBucket.*create it, or correct"):
        call_command("upload_static")


def test_unreachable_s3_endpoint_is_reported(
    releases: Releases, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = static_bucket.LIMITS.merge(
        static_bucket.Config(retries={"total_max_attempts": 1, "mode": "standard"})
    )
    monkeypatch.setattr(static_bucket, "LIMITS", limits)
    settings.STATIC_BUCKET = options(f"http://127.0.0.1:{free_port()}")

    with pytest.raises(CommandError, match=r"EndpointConnectionError.*AWS_S3_ENDPOINT_URL"):
        call_command("upload_static")


def test_missing_s3_credentials_are_reported(
    endpoint: str,
    bucket: Any,
    releases: Releases,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings.STATIC_BUCKET = options(endpoint, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")

    with pytest.raises(CommandError, match="no credentials: give the machine a role"):
        call_command("upload_static")


def test_missing_static_manifest_is_reported(
    bucket: Any, settings: Settings, tmp_path: Path
) -> None:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": MANIFEST}}
    settings.STATIC_ROOT = tmp_path

    with pytest.raises(CommandError, match=r"no manifest\. Run `manage.py collectstatic`"):
        call_command("upload_static")


def test_upload_static_does_nothing_without_a_bucket(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path

    assert settings.STATIC_BUCKET == {}
    call_command("upload_static")


def test_server_does_not_start_when_static_files_cannot_be_uploaded(tmp_path: Path) -> None:
    """Otherwise pages would have no styles. Without traceback or secret."""
    done = subprocess.run(
        ["sh", str(ROOT / "supervisor/entrypoint"), "serve"],
        cwd=ROOT,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "DJANGO_READ_DOTENV": "false",
            "DJANGO_SETTINGS_MODULE": "mysite.settings.production",
            "DJANGO_SECRET_KEY": "k3y-" + "abcdefghij" * 6,
            "DJANGO_ALLOWED_HOSTS": "www.example.com",
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
            "REDIS_URL": "redis://redis:6379",
            "RUN_MIGRATIONS": "true",
            "STATIC_ROOT": str(tmp_path),
            "AWS_STATIC_BUCKET_NAME": BUCKET,
            "STATIC_URL": "https://static.example.com/static/",
            "AWS_ACCESS_KEY_ID": "owner",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            **required_values(),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"CommandError: the static files are not all in bucket {BUCKET}: "
        f"{tmp_path} has no manifest. Run `manage.py collectstatic`.",
        "entrypoint: the static files are not in their bucket (above), "
        "so this server is not started.",
    ]
    # Nothing was changed before.
    assert not (tmp_path / "db.sqlite3").exists()
