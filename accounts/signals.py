"""API tokens end with the password that they were issued for, and with the account."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import is_password_usable
from django.db.models import Model
from django.db.models.signals import post_save, pre_save
from django.dispatch import receiver
from rest_framework.authtoken.models import Token

WATCHED = {"password", "is_active"}


# No `sender`: proxies and children of the user model send signals of their own.
@receiver(pre_save)
def compare_with_saved(
    instance: Model, raw: bool, using: str, update_fields: frozenset[str] | None, **_: Any
) -> None:
    """Remember whether this save changes the user's password or deactivates the account."""
    if not isinstance(instance, get_user_model()) or raw or instance._state.adding:
        return
    if update_fields is not None and not WATCHED & update_fields:
        return
    saved = get_user_model()._base_manager.using(using).filter(pk=instance.pk).first()
    instance._revokes_tokens = saved is not None and (
        _has_new_password(instance, saved, update_fields)
        or (saved.is_active and not instance.is_active)
    )


@receiver(post_save)
def revoke(instance: Model, using: str, **_: Any) -> None:
    """Delete the user's tokens, if `compare_with_saved` says so."""
    if vars(instance).pop("_revokes_tokens", False):
        Token.objects.using(using).filter(user_id=instance.pk).delete()


def _has_new_password(user: Any, saved: Any, update_fields: frozenset[str] | None) -> bool:
    if user.password == saved.password:
        return False
    # At a sign-in Django renews an outdated hash of the same password, and saves that alone
    # (AbstractBaseUser.check_password).
    renewed = user._password is None and update_fields == {"password"}
    return not renewed or not is_password_usable(user.password)
