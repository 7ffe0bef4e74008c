"""Faults of environment properties and secrets."""

from tests.unit.ebctl_faults.bundles import ENVIRONMENT, Fault, alone, config, option, property_

SECRETS = "aws:elasticbeanstalk:application:environmentsecrets"

FAULTS: dict[str, Fault] = {
    "secret of the project": (property_("DJANGO_SECRET_KEY: abc"), "secret", 3, "setenv"),
    "database URL": (property_("DATABASE_URL: mysql://a@b/c"), "secret", 3, "setenv"),
    "secret of another service": (property_("STRIPE_API_KEY: abc"), "secret", 3, "setenv"),
    "password in a URL": (
        property_("BROKER: redis://:word@cache:6379/0"),
        "secret",
        3,
        "setenv",
    ),
    "database password": (
        option("aws:rds:dbinstance", "DBPassword", "abc"),
        "secret",
        3,
        "secret",
    ),
    "secret by value instead of ARN": (
        config(f"option_settings:\n  {SECRETS}:\n    DJANGO_SECRET_KEY: abc\n"),
        "secret",
        3,
        "ARN",
    ),
    "properties that are too long": (
        property_(f"LONG: {'x' * 4096}"),
        "too-long",
        3,
        "4096",
    ),
    "value with two lines": (
        property_("TEXT: |-\n      one\n      two"),
        "property",
        3,
        "several lines",
    ),
    "value with quotes": (property_("""TEXT: "'quoted'" """), "property", 3, "quotes"),
    "value that the container refuses": (
        alone(f"{ENVIRONMENT}    DRAIN_SECONDS: 600\n"),
        "property",
        3,
        "DRAIN_SECONDS",
    ),
    "request timeout longer than that of the load balancer": (
        alone(
            f"{ENVIRONMENT}    REQUEST_SECONDS: 47\n"
            "  aws:elbv2:loadbalancer:\n    IdleTimeout: 57\n"
        ),
        "together",
        5,
        "the instance's nginx waits 57 s",
    ),
    "slow paths with a timeout longer than that of the load balancer": (
        alone(
            f"{ENVIRONMENT}    SLOW_PATHS: /reports/\n"
            "  aws:elbv2:loadbalancer:\n    IdleTimeout: 310\n"
        ),
        "together",
        5,
        "a request may take 300 s",
    ),
    "invalid property name": (property_("MY-NAME: a"), "property", 3, "name"),
}
