"""The first superuser, from DJANGO_SUPERUSER_*: made by migrate while there is none."""

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from mysite import environment


class SuperuserRefusedError(Exception):
    """The variables do not make a superuser; the message says why, without the password."""


def ensure_superuser(env: environment.Environment) -> str:
    """Make the first superuser if the environment names one and there is none.

    Returns the name of the one that was made, or nothing.

    Raises:
        SuperuserRefusedError: the password is missing or too weak, or the name is another user's.
    """
    name = env.str("DJANGO_SUPERUSER_USERNAME")
    users = get_user_model()
    if not name or users.objects.filter(is_superuser=True).exists():
        return ""
    password = env.str("DJANGO_SUPERUSER_PASSWORD")
    if not password:
        raise SuperuserRefusedError(
            "DJANGO_SUPERUSER_USERNAME is set, but DJANGO_SUPERUSER_PASSWORD is not. Set it, or "
            "DJANGO_SUPERUSER_PASSWORD_FILE to a file that holds it."
        )
    if users.objects.filter(username=name).exists():
        raise SuperuserRefusedError(
            f"DJANGO_SUPERUSER_USERNAME: {name!r} is a user already, but no superuser. Choose "
            "another name."
        )
    new = users(username=name, email=env.str("DJANGO_SUPERUSER_EMAIL"))
    try:
        validate_password(password, new)
        new.clean_fields(exclude=["password"])
    except ValidationError as error:
        raise SuperuserRefusedError(
            f"the first superuser cannot be made: {' '.join(error.messages)} Change "
            "DJANGO_SUPERUSER_USERNAME, _EMAIL or _PASSWORD."
        ) from None
    users.objects.create_superuser(name, new.email, password)
    return name
