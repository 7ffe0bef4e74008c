"""`make seed` adds the demo's example data once."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from demo.models import Upload

pytestmark = pytest.mark.django_db


def seed() -> str:
    """Run the command for the demo, and return its output."""
    output = StringIO()
    call_command("seed", "demo", stdout=output)
    return output.getvalue()


def test_seed_adds_a_user_and_an_upload_once(media: Path) -> None:
    assert seed() == "demo: the user 'example' and 1 upload\n"
    assert seed() == "demo: nothing to add\n"

    upload = Upload.objects.get()
    assert (media / upload.image.name).is_file()
    assert (upload.owner.get_username(), upload.owner.has_usable_password()) == ("example", False)
