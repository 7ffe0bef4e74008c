"""The first superuser, from DJANGO_SUPERUSER_*: created by migrate while there is none."""

import os
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import FieldDoesNotExist, ValidationError

from ops import environment


class SuperuserRefusedError(Exception):
    """The variables do not make a superuser; the message says why, without the password."""


def ensure_superuser(env: environment.Environment) -> str:
    """Create the first superuser if the environment names one and there is none.

    DJANGO_SUPERUSER_USERNAME is for the user model's USERNAME_FIELD, which may be an e-mail
    address, DJANGO_SUPERUSER_<FIELD> for each of its REQUIRED_FIELDS.
    https://docs.djangoproject.com/en/5.2/topics/auth/customizing/#specifying-a-custom-user-model

    Returns the name of the one that was created, or nothing.

    Raises:
        SuperuserRefusedError: a value is missing or wrong, or the name is another user's.
    """
    # A project's own model may lack what Django's has.
    users: Any = get_user_model()
    name = env.str("DJANGO_SUPERUSER_USERNAME")
    if users.get_email_field_name() == users.USERNAME_FIELD:
        name = name or env.str("DJANGO_SUPERUSER_EMAIL")
    if not name or _exists(users):
        return ""
    password = env.str("DJANGO_SUPERUSER_PASSWORD")
    if not password:
        raise SuperuserRefusedError(
            "the first superuser is named, but DJANGO_SUPERUSER_PASSWORD is not set. Set it, or "
            "DJANGO_SUPERUSER_PASSWORD_FILE to a file that holds it."
        )
    name = users.normalize_username(name)
    if users._default_manager.filter(**{users.USERNAME_FIELD: name}).exists():
        raise SuperuserRefusedError(
            f"DJANGO_SUPERUSER_USERNAME: {name!r} is a user already, but no superuser. Choose "
            "another name."
        )
    fields = {users.USERNAME_FIELD: name, **_required(users, env)}
    new = users(**{users._meta.get_field(field).attname: text for field, text in fields.items()})
    others = {field.name for field in users._meta.fields} - set(fields)
    try:
        validate_password(password, new)
        new.clean_fields(exclude=others)
        new.validate_unique(exclude=others)
    except ValidationError as error:
        variables = ", ".join(
            f"DJANGO_SUPERUSER_{field.upper()}" for field in _shown(users, fields)
        )
        raise SuperuserRefusedError(
            f"the first superuser cannot be created: {' '.join(error.messages)} Change one of "
            f"{variables}."
        ) from None
    users._default_manager.create_superuser(**fields, password=password)
    return str(name)


def _exists(users: Any) -> bool:
    try:
        users._meta.get_field("is_superuser")
    except FieldDoesNotExist:
        # This user model has no field that marks superusers.
        return bool(users._default_manager.exists())
    return bool(users._default_manager.filter(is_superuser=True).exists())


def _required(users: Any, env: environment.Environment) -> dict[str, str]:
    """Return the values of the model's REQUIRED_FIELDS; an empty one only where it may be."""
    values = {}
    for field in users.REQUIRED_FIELDS:
        variable = f"DJANGO_SUPERUSER_{field.upper()}"
        values[field] = (
            env.str(variable) if variable in env.values else os.environ.get(variable, "")
        )
        if not values[field] and not users._meta.get_field(field).blank:
            raise SuperuserRefusedError(
                f"{variable} is not set, and {users.__name__} requires {field}. Set it, and "
                "declare it in mysite/environment.py (docs/your-app.md)."
            )
    return values


def _shown(users: Any, fields: dict[str, str]) -> list[str]:
    """Return the fields as the variables call them."""
    return ["username", *(field for field in fields if field != users.USERNAME_FIELD), "password"]
