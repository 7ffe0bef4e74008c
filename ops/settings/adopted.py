"""A project's own settings as the base: what of them stays, and what the stack decides.

mysite/settings/base.py of an adopted project uses this module (docs/adopt.md).
"""

import os
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ops.environment import Environment
from ops.environment.contract import PROJECT, VARIABLES

# Variables that the project's code may read at any time.
OWN = {variable.name for variable in PROJECT}
# Theirs as long as EMAIL_URL is not set; on a laptop no real mail is sent.
MAIL = re.compile("EMAIL_[A-Z_]+|DEFAULT_FROM_EMAIL|SERVER_EMAIL|ADMINS")
# Beyond the names of ops.settings.stack.
DECIDED = re.compile(
    "SECRET_KEY(_FALLBACKS)?|DEBUG|ALLOWED_HOSTS|CSRF_TRUSTED_ORIGINS|DATABASES|CACHES|STORAGES"
    "|(DEFAULT_FILE|STATICFILES)_STORAGE|STATIC_(URL|ROOT)|MEDIA_(URL|ROOT)"
    "|ROOT_URLCONF|WSGI_APPLICATION|(SESSION|CSRF)_COOKIE_SECURE"
    "|SECURE_(SSL_.*|HSTS_.*|PROXY_SSL_HEADER|REDIRECT_EXEMPT)"
)
APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_structlog",
    "ops",
)
FIRST = (
    # A probe is answered whatever its Host header, never redirected and never logged.
    "ops.middleware.ProbeMiddleware",
    # As a probe, but on a port of its own; all else is counted.
    "ops.metrics.scrape.MetricsMiddleware",
    "ops.metrics.requests.CountRequests",
    "ops.logs.requests.LogRequests",
)
LAST = (
    "ops.login_throttle.LoginThrottleMiddleware",
    # The first to see what a view raises.
    "ops.middleware.DatabaseOutageMiddleware",
)
# The stack's own take their place.
REPLACED = ("django_structlog.middlewares.RequestMiddleware",)
POLICY = "ops.csp.ContentSecurityPolicyMiddleware"
# A project that has one of these sends a policy of its own.
OWN_POLICIES = ("csp.middleware.", "django.middleware.csp.")
TEMPLATES = "django.template.backends.django.DjangoTemplates"


def load(modules: Mapping[str, str], unused: Iterable[str], env: Environment) -> dict[str, Any]:
    """Return every setting of the project's own module for this layer.

    The module reads variables from os.environ. Those that mysite/environment.py
    declares are put there: from secrets' files too, and throw-away values while an image is built.

    Args:
        modules: its settings modules, by layer.
        unused: variables that it reads for what the stack decides.
        env: the checked environment.

    Raises:
        ImproperlyConfigured: it requires a variable that is not set.
    """
    for variable in PROJECT:
        text = _text(env.values[variable.name])
        if env.building and variable.required_in:
            text = text or _throwaway_value(variable.name)
        if text:
            os.environ.setdefault(variable.name, text)
    before = {name: os.environ.get(name) for name in (*VARIABLES, *unused) if name not in OWN}
    for name in unused:
        os.environ.setdefault(name, _throwaway_value(name))
    try:
        module = import_module(modules[env.layer])
    except KeyError as error:
        if not error.args or error.args[0] in os.environ:
            raise
        # Imported here: the settings are read before Django is set up.
        from django.core.exceptions import ImproperlyConfigured

        raise ImproperlyConfigured(
            f"{modules[env.layer]} reads {error.args[0]}, which is not set. Set it in .env, and "
            "declare it in mysite/environment.py (docs/your-app.md)."
        ) from None
    finally:
        # A process that this one starts reads the stack's variables again, and not from a `.env`
        # of the project's own.
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return {name: value for name, value in vars(module).items() if name.isupper()}


def _throwaway_value(name: str) -> str:
    """Return a value that reads as a text, a number and a truth value, or as a URL."""
    return "sqlite:///unused" if name.endswith("_URL") else "0"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def kept(theirs: Mapping[str, Any], stack: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the stack does not decide, which has these set already."""
    mail = stack.get("OWN_MAIL_SETTINGS", False)
    return {
        name: value
        for name, value in theirs.items()
        if not (DECIDED.fullmatch(name) or name in stack) or (mail and MAIL.fullmatch(name))
    }


def databases(theirs: Mapping[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """Return DATABASES: the stack's default, with what the project's says of requests and tests."""
    own = theirs.get("DATABASES", {})
    more = {
        name: own["default"][name]
        for name in ("ATOMIC_REQUESTS", "TEST")
        if name in own.get("default", {})
    }
    return {**own, "default": {**default, **more}}


def caches(theirs: Mapping[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """Return CACHES: the stack's cache for each name, apart by a prefix."""
    own = theirs.get("CACHES", {})
    names = ("TIMEOUT", "VERSION", "KEY_PREFIX")
    result = {
        alias: {
            **default,
            "KEY_PREFIX": alias,
            **{name: value for name, value in cache.items() if name in names},
        }
        for alias, cache in own.items()
        if alias != "default"
    }
    return {**result, "default": default}


def storages(theirs: Mapping[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """Return STORAGES for the layers without hashed names: the stack's two, and others' own."""
    return {
        **theirs.get("STORAGES", {}),
        "default": default,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


def apps(theirs: Mapping[str, Any]) -> list[str]:
    """Return INSTALLED_APPS: the project's, then what the stack needs and they lack."""
    own = [app for app in theirs["INSTALLED_APPS"] if not _is_whitenoise(app)]
    # An app can be listed by its configuration: rest_framework.apps.RestFrameworkConfig.
    names = {app.partition(".apps.")[0] for app in own}
    return [*own, *(app for app in APPS if app not in names)]


def middleware(theirs: Mapping[str, Any]) -> list[str]:
    """Return MIDDLEWARE: the stack's first, the project's without WhiteNoise, the stack's last."""
    own = [name for name in theirs.get("MIDDLEWARE", ()) if not _is_whitenoise(name)]
    own = [name for name in own if name not in (*FIRST, *LAST, *REPLACED, POLICY)]
    policy = () if any(name.startswith(OWN_POLICIES) for name in own) else (POLICY,)
    return [*FIRST, *policy, *own, *LAST]


def _is_whitenoise(name: str) -> bool:
    return name.partition(".")[0] == "whitenoise"


def templates(theirs: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Return TEMPLATES: the project's, and at the end the folder of the stack's error page."""
    own = [{**engine, "OPTIONS": {**engine.get("OPTIONS", {})}} for engine in theirs["TEMPLATES"]]
    for engine in own:
        if engine["BACKEND"] == TEMPLATES:
            engine["DIRS"] = [*engine.get("DIRS", ()), folder]
            break
    else:
        own.append({"BACKEND": TEMPLATES, "DIRS": [folder], "APP_DIRS": True, "OPTIONS": {}})
    return own


def rest_framework(theirs: Mapping[str, Any], rates: dict[str, str]) -> dict[str, Any]:
    """Return REST_FRAMEWORK: the project's, with the limits that the stack's variables set."""
    own = theirs.get("REST_FRAMEWORK", {})
    rates = {**rates, **own.get("DEFAULT_THROTTLE_RATES", {})}
    # The client's address is REMOTE_ADDR, which nginx has made sure of; no header is believed.
    return {**own, "DEFAULT_THROTTLE_RATES": rates, "NUM_PROXIES": 0}
