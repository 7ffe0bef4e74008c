"""How the text of a variable becomes a value, or a fault with a hint."""

import zoneinfo
from pathlib import Path

import pytest

from ops.environment.contract import CONTRACT, VARIABLES
from ops.environment.fault import InvalidValueError
from ops.environment.variable import LAYERS, ROOT, SHARED, Kind, Scope, Value, Variable

GOOD: list[tuple[str, str, Value]] = [
    *(("DJANGO_DEBUG", text, True) for text in ("true", "True", "1", "yes", "on", " ON ")),
    *(("DJANGO_DEBUG", text, False) for text in ("false", "FALSE", "0", "no", "off")),
    ("WEB_CONCURRENCY", "1", 1),
    ("WEB_CONCURRENCY", " 64 ", 64),
    ("HTTP_PORT", "1", 1),
    ("HTTP_PORT", "65535", 65535),
    ("LAYER", "production", "production"),
    ("DJANGO_LOG_LEVEL", "ERROR", "ERROR"),
    ("DB_ENGINE", "postgres", "postgres"),
    ("DB_ENGINE", "postgresql", "postgres"),
    ("DB_ENGINE", "sqlite3", "sqlite"),
    ("DB_ENGINE", "django.db.backends.mysql", "mysql"),
    ("DB_ENGINE", "django.db.backends.sqlite3", "sqlite"),
    ("DB_ENGINE", "django.db.backends.postgresql", "postgres"),
    ("DJANGO_ALLOWED_HOSTS", "a.example, .b.example ,,[::1],127.0.0.1,*",
     ("a.example", ".b.example", "[::1]", "127.0.0.1", "*")),
    ("DJANGO_ALLOWED_HOSTS", ",", ()),
    ("DJANGO_CSRF_TRUSTED_ORIGINS", "https://a.example:8443,https://*.b.example,http://[::1]:8080",
     ("https://a.example:8443", "https://*.b.example", "http://[::1]:8080")),
    ("PROFILE_FIELDS", "debug,settings", ("debug", "settings")),
    ("DJANGO_TIME_ZONE", "UTC", "UTC"),
    ("DJANGO_TIME_ZONE", "Asia/Seoul", "Asia/Seoul"),
    ("DJANGO_LANGUAGE_CODE", "ko", "ko"),
    ("DJANGO_LANGUAGE_CODE", "zh-hans", "zh-hans"),
    ("DJANGO_SETTINGS_MODULE", "mysite.settings.production", "mysite.settings.production"),
    ("DJANGO_SETTINGS_MODULE", "elsewhere.settings", "elsewhere.settings"),
    ("PROFILE", "set1", "set1"),
    ("RELEASE", "2025-01-31.4f2c1ab+dirty", "2025-01-31.4f2c1ab+dirty"),
    ("STATIC_ROOT", "/srv/static", Path("/srv/static")),
    ("STATIC_ROOT", "var/static", ROOT / "var/static"),
    ("HTTP_ADDRESS", "0.0.0.0", "0.0.0.0"),
    ("HTTP_ADDRESS", "[::1]", "[::1]"),
    ("HTTP_IPV6_ADDRESS", "[::]", "[::]"),
    ("TRUSTED_PROXIES", "10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
    ("DIRECT_ADDRESS", "127.0.0.2", "127.0.0.2"),
    ("DIRECT_ADDRESS", "[::1]", "[::1]"),
    ("STATS_USER", "ops", "ops"),
    *(("EMAIL_URL", text, text) for text in (
        "smtp+tls://me%40example.com:a%2Fb+c@smtp.example.com:587",
        "smtp+ssl://me:pa55word@smtp.example.com",
        "smtp://relay:25/",
        "smtp://[::1]:25",
        "consolemail://",
    )),
    ("DEFAULT_FROM_EMAIL", "Shop No. 1 <shop@example.com>", "Shop No. 1 <shop@example.com>"),
    ("DEFAULT_FROM_EMAIL", "shop@example.com", "shop@example.com"),
    ("ADMINS", "a@example.com, b@example.com", ("a@example.com", "b@example.com")),
    ("TLS_CERTIFICATE", "certs/localhost", "certs/localhost"),
    ("TLS_CERTIFICATE", "./certs/letsencrypt/live/www.example.com/",
     "./certs/letsencrypt/live/www.example.com/"),
    ("STATS_PASSWORD", " 'as it is' ", " 'as it is' "),
]  # fmt: skip

BAD = [
    ("TLS_CERTIFICATE", "localhost", "certs/localhost"),
    ("TLS_CERTIFICATE", "/etc/letsencrypt/live/www.example.com", "certs/localhost"),
    ("TLS_CERTIFICATE", "certs/../backups", "certs/localhost"),
    ("TLS_CERTIFICATE", "certs/", "certs/localhost"),
    ("DJANGO_DEBUG", "ture", "Did you mean true?"),
    ("DJANGO_DEBUG", "flase", "Did you mean false?"),
    ("DJANGO_DEBUG", "2", "true or false"),
    ("DJANGO_DEBUG", '"true"', "Remove them"),
    ("WEB_CONCURRENCY", "0", "from 1 to 64"),
    ("WEB_CONCURRENCY", "65", "from 1 to 64"),
    ("WEB_CONCURRENCY", "-1", "from 1 to 64"),
    ("WEB_CONCURRENCY", "two", "from 1 to 64"),
    ("WEB_CONCURRENCY", "1_0", "from 1 to 64"),
    ("WEB_CONCURRENCY", "2.0", "from 1 to 64"),
    ("WEB_CONCURRENCY", "٣", "from 1 to 64"),
    ("SERVER_COUNT", "1", "Use one of: 2, 3"),
    ("SERVER_COUNT", "7", "Use one of: 2, 3"),
    ("HTTP_PORT", "0", "from 1 to 65535"),
    ("HTTP_PORT", "65536", "from 1 to 65535"),
    ("HTTP_PORT", "http", "from 1 to 65535"),
    ("LAYER", "prodction", "Did you mean production?"),
    ("LAYER", "Production", "Did you mean production?"),
    ("LAYER", "test", "local, dev, production"),
    ("DJANGO_LOG_LEVEL", "warn", "Did you mean WARNING?"),
    ("DB_ENGINE", "mysqll", "Did you mean mysql?"),
    ("DB_ENGINE", "oracle", "sqlite, mysql, postgres"),
    ("DJANGO_ALLOWED_HOSTS", "https://a.example", "without scheme"),
    ("DJANGO_ALLOWED_HOSTS", "a.example:8080", "without scheme"),
    ("DJANGO_ALLOWED_HOSTS", "a.example b.example", "without scheme"),
    ("DJANGO_ALLOWED_HOSTS", "'a.example,b.example'", "Remove them"),
    ("DJANGO_CSRF_TRUSTED_ORIGINS", "a.example", "https://"),
    ("DJANGO_CSRF_TRUSTED_ORIGINS", "https://a.example/", "without a path"),
    ("DJANGO_CSRF_TRUSTED_ORIGINS", "https://[::1]/path", "without a path"),
    ("PROFILE_FIELDS", "settings,sever", "Did you mean server?"),
    ("DJANGO_TIME_ZONE", "Asia/Soul", "Did you mean Asia/Seoul?"),
    ("DJANGO_TIME_ZONE", "../../etc/passwd", "Use a name"),
    ("DJANGO_LANGUAGE_CODE", "en_US", "en-us"),
    ("DJANGO_SETTINGS_MODULE", "mysite.settings.prodution", "Did you mean mysite.settings.pro"),
    ("DJANGO_SETTINGS_MODULE", "mysite/settings.py", "mysite.settings.dev"),
    ("PROFILE", "set 1", "without spaces"),
    ("PROFILE", "set1\nX-Injected: 1", "without spaces"),
    ("RELEASE", "-x", "letters"),
    ("HTTP_ADDRESS", "localhost", "127.0.0.1"),
    ("HTTP_IPV6_ADDRESS", "::1", "[::1] for this machine"),
    ("HTTP_IPV6_ADDRESS", "127.0.0.1", "[::1] for this machine"),
    ("TRUSTED_PROXIES", "10.0.0.1,caddy", "2001:db8::/32"),
    ("TRUSTED_PROXIES", "10.0.0.1:80", "192.0.2.10"),
    ("TRUSTED_PROXIES", "10.0.0.1/8", "Write it as 10.0.0.0/8"),
    ("TRUSTED_PROXIES", "2001:DB8::1", "Write it as 2001:db8::1"),
    ("TRUSTED_PROXIES", "0.0.0.0/0", "/8 or smaller"),
    ("TRUSTED_PROXIES", "::/0", "/8 or smaller"),
    ("PROXY_PROTOCOL", "2", "0, 1"),
    ("HTTP_ADDRESS", "::1", "127.0.0.1"),
    ("DIRECT_ADDRESS", "0.0.0.0", "SSH tunnel"),
    ("DIRECT_ADDRESS", "192.168.1.5", "127.0.0.1"),
    ("DIRECT_ADDRESS", "[::]", "127.0.0.1"),
    ("DIRECT_ADDRESS", "[fd00::1]", "127.0.0.1"),
    ("DIRECT_ADDRESS", "localhost", "127.0.0.1"),
    ("STATS_USER", "a:b", "letters"),
    ("EMAIL_URL", "smtp.example.com", "smtp+tls://user"),
    ("EMAIL_URL", "http://smtp.example.com", "smtp, smtp+tls, smtp+ssl, consolemail"),
    ("EMAIL_URL", "smtps://smtp.example.com", "smtp+ssl:// for TLS from the start"),
    ("EMAIL_URL", "smtp+tls://", "smtp.example.com:587"),
    ("EMAIL_URL", "smtp://me:a/b@smtp.example.com", "Percent-encode"),
    ("EMAIL_URL", "smtp://me:a#b@smtp.example.com", "Percent-encode"),
    ("EMAIL_URL", "smtp://smtp.example.com:port", "Percent-encode"),
    ("EMAIL_URL", "smtp://smtp.example.com/inbox", "/ is %2F"),
    ("EMAIL_URL", "smtp://smtp.example.com?tls=1", "? is %3F"),
    ("EMAIL_URL", "smtp://me@smtp.example.com", "@ is %40"),
    ("DEFAULT_FROM_EMAIL", "shop", "shop@example.com"),
    ("DEFAULT_FROM_EMAIL", "a@example.com, b@example.com", "Shop <shop@example.com>"),
    ("DEFAULT_FROM_EMAIL", "a@example.com\nBcc: b@example.com", "Shop <shop@example.com>"),
    ("ADMINS", "Ann <a@example.com>", "shop@example.com"),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_valid_text_is_parsed_to_its_value(name: str, text: str, value: Value) -> None:
    """With its type: True is not 1."""
    parsed = VARIABLES[name].parse(text)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(("name", "text", "hint"), BAD)
def test_invalid_text_is_refused_with_a_hint(name: str, text: str, hint: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        VARIABLES[name].parse(text)
    assert caught.value.problem
    assert hint in caught.value.hint


def test_missing_time_zone_database_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slim images have none; the name may be correct."""

    def unknown(name: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", unknown)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    assert VARIABLES["DJANGO_TIME_ZONE"].parse("UTC") == "UTC"
    with pytest.raises(InvalidValueError) as caught:
        VARIABLES["DJANGO_TIME_ZONE"].parse("Nowhere/Atall")
    assert "tzdata" in caught.value.hint


def test_every_variable_is_declared_once() -> None:
    names = [variable.name for section in CONTRACT for variable in section.variables]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("variable", VARIABLES.values(), ids=lambda variable: variable.name)
def test_declaration_is_complete_and_its_defaults_are_valid(variable: Variable) -> None:
    assert variable.help.endswith(".")
    assert "\n" not in variable.help
    assert set(variable.layer_defaults) | variable.required_in <= set(LAYERS)
    assert bool(variable.choices) <= (variable.kind in {Kind.CHOICE, Kind.LIST})
    for layer in LAYERS:
        text = variable.default_in(layer)
        # A required variable has no default, nor has a secret in a shared layer.
        assert not (text and (layer in variable.required_in))
        assert not (text and variable.secret and layer in SHARED)
        if text:
            variable.parse(text)
        else:
            # These kinds have no value that means "none".
            assert variable.kind not in {Kind.BOOL, Kind.INT, Kind.PATH}


def test_stack_scope_lists_variables_that_the_application_never_reads() -> None:
    """A change of scope changes which variables the servers receive."""
    stack = {name for name, variable in VARIABLES.items() if variable.scope is Scope.STACK}
    assert stack == {
        "LAYER",
        "ALERTMANAGER_CONFIG",
        "APACHE",
        "APACHE_PORT",
        "APP_MEMORY",
        "BACKUP",
        "BACKUP_AT",
        "BACKUP_KEEP",
        "BACKUP_PASSWORD",
        "BACKUP_S3_ACCESS_KEY_ID",
        "BACKUP_S3_SECRET_ACCESS_KEY",
        "BACKUP_SSH_HOST_KEY",
        "BACKUP_SSH_KEY",
        "BACKUP_TO",
        "DB_MEMORY",
        "DB_SLOW_QUERY_SECONDS",
        "DIRECT_ADDRESS",
        "GRAFANA_PORT",
        "HAPROXY_BALANCE",
        "HTTP_ADDRESS",
        "HTTP_IPV6_ADDRESS",
        "HTTP_PORT",
        "LOG_DRIVER",
        "MONITORING",
        "NGINX_BALANCE",
        "NGINX_BALANCER",
        "NGINX_BALANCER_ADDRESS",
        "NGINX_BALANCER_PORT",
        "NGINX_PORT",
        "PROMETHEUS_PORT",
        "HTTPS_PORT",
        "PROXY_PROTOCOL",
        "STACK_NAME",
        "STATS_PORT",
        "STATS_USER",
        "STATS_PASSWORD",
        "TLS_CERTIFICATE",
        "TRUSTED_PROXIES",
    }


@pytest.mark.parametrize(
    ("name", "layer", "default"),
    [
        ("LAYER", "local", "local"),
        ("DJANGO_DEBUG", "local", "true"),
        ("DJANGO_DEBUG", "dev", "true"),
        ("DJANGO_DEBUG", "production", "false"),
        ("DJANGO_DEBUG", "test", "false"),
        ("DJANGO_SECURE_SSL_REDIRECT", "production", "true"),
        ("DJANGO_SECURE_SSL_REDIRECT", "dev", "false"),
        ("DJANGO_HSTS_SECONDS", "production", "3600"),
        ("DJANGO_HSTS_SECONDS", "dev", "0"),
        ("DJANGO_HSTS_INCLUDE_SUBDOMAINS", "production", "false"),
        ("DJANGO_HSTS_PRELOAD", "production", "false"),
        ("PROFILE_FIELDS", "production", "settings,server,release"),
        ("PROFILE_FIELDS", "dev", "settings,server,release,stack,hostname,django,python,debug"),
        ("HTTP_ADDRESS", "local", "127.0.0.1"),
        ("HTTP_PORT", "production", "8080"),
        ("STATS_PORT", "production", "8888"),
        ("RUN_PORT", "local", "8000"),
        ("DB_CONN_MAX_AGE", "production", "60"),
        ("DB_WAIT_SECONDS", "production", "60"),
        ("DB_LOCK_WAIT_SECONDS", "production", "60"),
        ("WEB_CONCURRENCY", "production", "2"),
    ],
)
def test_variable_keeps_its_documented_default_in_each_layer(
    name: str, layer: str, default: str
) -> None:
    """Repeated here, because users rely on these defaults."""
    assert VARIABLES[name].default_in(layer) == default


@pytest.mark.parametrize(
    "text", ["My-Site", "mysite_", "-a", "a--b", "a__b", "a" * 41, "1a", "a/b"]
)
def test_stack_name_must_be_a_valid_docker_name(text: str) -> None:
    with pytest.raises(InvalidValueError):
        VARIABLES["STACK_NAME"].parse(text)
    # The default is the project's name.
    for name in ("my-site2", "book_club"):
        assert VARIABLES["STACK_NAME"].parse(name) == name


@pytest.mark.parametrize("text", ["2", "2gb", "0g", "1.5g", "-1m", "2 g"])
def test_memory_limit_must_have_a_unit(text: str) -> None:
    with pytest.raises(InvalidValueError):
        VARIABLES["APP_MEMORY"].parse(text)
    assert VARIABLES["APP_MEMORY"].parse("1500m") == "1500m"
