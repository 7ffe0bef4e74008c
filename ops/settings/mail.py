"""How the worker delivers mails, from EMAIL_URL. https://docs.djangoproject.com/en/5.2/topics/email/."""

from typing import Any

from environ import Env

from ops.environment import Environment

SMTP = "django.core.mail.backends.smtp.EmailBackend"
CONSOLE = "django.core.mail.backends.console.EmailBackend"
# smtplib's own default is 25, whatever the scheme.
PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}


def delivery(env: Environment) -> dict[str, Any]:
    """Return the worker's mail backend and Django's settings of the server that EMAIL_URL names.

    Without EMAIL_URL local and dev print mails. Production has a backend without a host, so that a
    project can name one in its settings instead.
    """
    url = env.str("EMAIL_URL")
    if not url:
        url = "smtp://" if own_mail_settings(env) else "consolemail://"
    config = Env.email_url_config(url)
    scheme = url.partition(":")[0]
    return {
        "backend": config["EMAIL_BACKEND"],
        "host": config["EMAIL_HOST"] or "",
        "port": config["EMAIL_PORT"] or PORTS.get(scheme, 25),
        "user": config["EMAIL_HOST_USER"] or "",
        "password": config["EMAIL_HOST_PASSWORD"] or "",
        "starttls": config.get("EMAIL_USE_TLS", False),
        "tls": config.get("EMAIL_USE_SSL", False),
    }


def own_mail_settings(env: Environment) -> bool:
    """Return whether a project's own settings name the mail server: none does in local and dev."""
    return not env.str("EMAIL_URL") and env.layer not in ("local", "dev")
