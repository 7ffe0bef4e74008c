"""The user model: add fields here.

https://docs.djangoproject.com/en/5.2/topics/auth/customizing/#substituting-a-custom-user-model
"""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person with an account."""

    class Meta(AbstractUser.Meta):
        """The table has the name of Django's own, so that existing databases keep their users."""

        db_table = "auth_user"
