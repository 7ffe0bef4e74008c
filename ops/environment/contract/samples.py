"""The secrets of the local layer."""

from typing import Final

# Each secret's value in the local layer, where no other machine can reach the
# servers. They are public: dev and production refuse them.
SAMPLE_SECRET_KEY: Final = "django-insecure-sample-of-the-local-layer-refused-elsewhere"  # noqa: S105
SAMPLE_PASSWORD: Final = "local-sample-password"  # noqa: S105
