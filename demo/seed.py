"""Example data: a user with an image. `make seed` calls it; called again it adds nothing."""

import io

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from PIL import Image

from demo.intake import store_upload
from demo.models import Upload
from demo.uploads import images

OWNER = "example"


def seed() -> str:
    """Add them, and return what was added. The user has no password to sign in with."""
    users = get_user_model().objects
    owner = users.filter(username=OWNER).first() or users.create_user(OWNER)
    if Upload.objects.filter(owner=owner).exists():
        return "nothing to add"
    output = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(output, "PNG")
    file = ContentFile(output.getvalue(), "gradient.png")
    store_upload(owner, file, images.examine(file, settings.UPLOAD_MAX_MEGAPIXELS))
    return f"the user {OWNER!r} and 1 upload"
