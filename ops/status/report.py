"""What the status page shows, as one report: servers, components, cards; and who may see it."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from ops import registry
from ops.health.report import HEALTH
from ops.profile import active_profile, public_profile
from ops.registry import Card
from ops.status import servers
from ops.status.servers import ServerHealth

logger = logging.getLogger(__name__)


def may_see(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Return whether a user may see more than that the site is up: staff, with DEBUG everyone."""
    return settings.DEBUG or bool(getattr(user, "is_staff", False))


def profile_for(user: AbstractBaseUser | AnonymousUser) -> dict[str, str | bool]:
    """Return the profile as /profile/ shows it to this visitor."""
    return active_profile() if getattr(user, "is_staff", False) else public_profile()


def report(profile: dict[str, str | bool]) -> dict[str, Any]:
    """Return the whole state, for a visitor who may see this profile.

    Servers and components are checked in parallel, so this takes no longer than the slower.
    """
    with ThreadPoolExecutor(1) as pool:
        probes = pool.submit(servers.RECENT.get)
        components = HEALTH.get()
        states = [describe_server(server, profile) for server in probes.result()]
    return {
        "server": profile.get("server"),
        "profile": profile,
        "status": overall(states, components),
        "servers": states,
        "components": components,
        **{card.name: state_of(card) for card in registry.cards.values() if card.state},
    }


def describe_server(health: ServerHealth, profile: dict[str, str | bool]) -> dict[str, str]:
    """Return one server's line; its name and address only where the profile has the name too."""
    line = {"state": health.state}
    if "server" in profile:
        line["name"] = health.server.name
        if health.server.host:
            line["address"] = f"{health.server.host}:{health.server.port}"
    if health.detail:
        line["detail"] = health.detail
    return line


def overall(states: list[dict[str, str]], components: dict[str, dict[str, Any]]) -> str:
    """Return up, or down as soon as one part is; a server that drains is no fault."""
    parts = [server["state"] for server in states]
    parts += [component["status"] for component in components.values()]
    return "down" if "down" in parts else "up"


def state_of(card: Card) -> Any:
    """Return a card's part of the report; None if it cannot be had, so that the rest is shown."""
    try:
        return card.state() if card.state else None
    except Exception as error:
        logger.warning("the status card %r has no state: %s", card.name, error)
        return None
