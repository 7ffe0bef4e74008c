"""What the status page shows, as one report: servers, components, visits; and who may see it."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from api import counters, servers
from api.profile import active_profile, public_profile
from api.servers import Found
from api.views.health import HEALTH
from api.views.hits import VISITS

logger = logging.getLogger(__name__)


def may_see(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Tell whether somebody may see more than that the site is up: staff, with DEBUG everyone."""
    return settings.DEBUG or bool(getattr(user, "is_staff", False))


def profile_for(user: AbstractBaseUser | AnonymousUser) -> dict[str, str | bool]:
    """Return the profile as /profile/ shows it to this visitor."""
    return active_profile() if getattr(user, "is_staff", False) else public_profile()


def report(profile: dict[str, str | bool]) -> dict[str, Any]:
    """Return the whole state, for somebody who may see this profile.

    Servers and components are looked at side by side, so this takes no longer than the slower.
    """
    with ThreadPoolExecutor(1) as beside:
        found = beside.submit(servers.RECENT.get)
        components = HEALTH.get()
        states = [describe_server(server, profile) for server in found.result()]
    return {
        "server": profile.get("server"),
        "profile": profile,
        "status": overall(states, components),
        "servers": states,
        "components": components,
        "visits": visits(),
    }


def describe_server(found: Found, profile: dict[str, str | bool]) -> dict[str, str]:
    """Return one server's line; its name and address only where the profile has the name too."""
    line = {"state": found.state}
    if "server" in profile:
        line["name"] = found.server.name
        if found.server.host:
            line["address"] = f"{found.server.host}:{found.server.port}"
    if found.detail:
        line["detail"] = found.detail
    return line


def overall(states: list[dict[str, str]], components: dict[str, dict[str, Any]]) -> str:
    """Return up, or down as soon as one part is; a server that drains is no fault."""
    parts = [server["state"] for server in states]
    parts += [component["status"] for component in components.values()]
    return "down" if "down" in parts else "up"


def visits() -> int | None:
    """Return the visits so far; None while what counts them is away."""
    try:
        return counters.read(VISITS)
    except Exception as error:  # whatever it is kept in, the page is shown without it
        logger.warning("the visit counter cannot be read: %s", error)
        return None
