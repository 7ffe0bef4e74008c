"""What `./swarmctl` reads: the compose files as `docker compose config` prints them."""

from tests.unit import config_files
from tools.swarmctl.engine import FILES, Json

# No folder's name has one of them.
VALUES = {"DB_PASSWORD": "one$two", "REDIS_PASSWORD": "three$", "STATS_PASSWORD": "four$"}


def config(**variables: str) -> Json:
    """Return the services with these variables."""
    return config_files.compose(LAYER="production", COMPOSE_FILE=FILES, **variables)
