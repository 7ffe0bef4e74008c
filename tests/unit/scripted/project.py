"""The compose project in the format of `docker compose config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ops.environment import dotenv
from ops.environment.contract import VARIABLES

NAME = "shop"
IMAGE = "shop-local"


def project(root: Path, port: int, extra: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the project with the present `.env`; `extra` changes or adds services."""
    given = {
        **{"DJANGO_ALLOWED_HOSTS": "*", "BROKER": "redis", "DB_ENGINE": "mysql"},
        **{"DB_HOST": "db", "DB_NAME": "shop", "DB_USER": "shop", "DB_PASSWORD": "a-password"},
        **{"REDIS_HOST": "redis", "REDIS_PASSWORD": "a-password"},
        **{
            name: text
            for name, text in dotenv.read(root / ".env").values.items()
            if name in VARIABLES
        },
    }
    volumes = [
        {"type": "volume", "source": name, "target": f"/srv/{name}"}
        for name in ("media", "private")
    ]
    application = {
        **{"image": IMAGE, "environment": given, "networks": {"backend": None}},
        "volumes": volumes,
    }
    ports = [{"host_ip": "127.0.0.1", "target": 8080, "published": str(port)}]
    password = {"DB_PASSWORD": given["DB_PASSWORD"]}
    redis = {"REDIS_PASSWORD": given["REDIS_PASSWORD"], "REDIS_USERNAME": "shop"}
    services: dict[str, dict[str, Any]] = {
        "server1": {**application, "environment": {**given, "PROFILE": "set1"}},
        "server2": {**application, "environment": {**given, "PROFILE": "set2"}},
        "worker": application,
        "migrate": application,
        "env-check": {**application, "build": {"context": "."}},
        "haproxy": {"image": "haproxy:3.0", "ports": ports, "networks": {"backend": None}},
        "db": {"image": "mysql:9.7", "environment": {**password, "MYSQL_DATABASE": "shop"}},
        "redis": {"image": "redis:8.0", "environment": redis},
    }
    for name, changes in extra.items():
        services[name] = {**services.get(name, {}), **changes}
    networks = {"backend": {"name": f"{NAME}_backend"}}
    named = {name: {"name": f"{NAME}_{name}"} for name in ("media", "private")}
    return {"name": NAME, "services": services, "networks": networks, "volumes": named}
