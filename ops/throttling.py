"""How many requests a client may make, counted over all servers in the cache they share."""

import ipaddress
import logging
import re
from abc import ABC, abstractmethod
from time import monotonic, time
from typing import TYPE_CHECKING

from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

if TYPE_CHECKING:  # it imports this module
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# While the cache is down no request is limited; the log says so once in this many seconds.
WARN_SECONDS = 5


class RateThrottle(BaseThrottle, ABC):
    """At most N requests in any period, as precisely as two counters can count.

    Each fixed period has a counter, which the cache adds to in one step, so that servers count
    together. Of the period before, that share counts which the sliding period still covers.
    """

    scope = ""
    # When this process logged it last.
    warned = float("-inf")

    def allow_request(self, request: Request, view: "APIView | None") -> bool:
        """Count the request, and return whether it is within the limit."""
        self.wait_seconds = 1.0
        client = self.client(request)
        limit, period = self.rate()
        if client is None or not limit:
            return True
        try:
            return self.count(client, limit, period)
        except Exception as error:
            # Rather too many requests than none at all.
            self.warn(error)
            return True

    def warn(self, error: Exception) -> None:
        """Log that nothing is limited, unless it was logged just now."""
        if monotonic() - RateThrottle.warned > WARN_SECONDS:
            RateThrottle.warned = monotonic()
            logger.warning("requests are not limited: the cache does not answer (%s)", error)

    def rate(self) -> tuple[int, int]:
        """Return the limit and its period in seconds; a limit of 0 for none."""
        text = api_settings.DEFAULT_THROTTLE_RATES[self.scope]
        match = re.fullmatch(r"(\d+)/(\w+)", text)
        return (int(match[1]), SECONDS[match[2]]) if match else (0, 1)

    def count(self, client: str, limit: int, period: int) -> bool:
        """Add one to this period's counter, and return True, unless the limit is reached.

        Args:
            client: who is counted.
            limit: requests in a period.
            period: seconds.
        """
        now = time()
        number, into = int(now // period), now % period
        keys = [f"throttle:{self.scope}:{client}:{n}" for n in (number - 1, number)]
        counts = cache.get_many(keys)
        before, current = (int(counts.get(key, 0)) for key in keys)
        share = 1 - into / period
        if before * share + current + 1 > limit:
            self.wait_seconds = wait(before, current, limit, period, into)
            return False
        if keys[1] not in counts:
            cache.add(keys[1], 0, timeout=2 * period)
        # Atomic: of requests at the same moment, only those over the limit are refused.
        if before * share + cache.incr(keys[1]) > limit:
            self.wait_seconds = period - into
            return False
        return True

    def wait(self) -> float:
        """Return the seconds after which a refused client may try again (Retry-After)."""
        return self.wait_seconds

    @abstractmethod
    def client(self, request: Request) -> str | None:
        """Return who is counted, or None for someone this limit is not for."""


def wait(before: int, current: int, limit: int, period: int, into: float) -> float:
    """Return in how many seconds one more request will be within the limit.

    Args:
        before: requests in the period before.
        current: requests in this period.
        limit: requests in a period.
        period: seconds.
        into: seconds since this period began.
    """
    if current + 1 <= limit and before:
        # Until the former period's share has shrunk to what is free.
        return max(1.0, period * (1 - (limit - current - 1) / before) - into)
    # Into the next period, until this one's share has shrunk.
    return max(1.0, period - into + period * (1 - (limit - 1) / max(current, 1)))


class AnonThrottle(RateThrottle):
    """Limit for each address that is not signed in."""

    scope = "anon"

    def client(self, request: Request) -> str | None:
        """Return the client's address."""
        return None if request.user and request.user.is_authenticated else address(request)


class UserThrottle(RateThrottle):
    """Limit for each user."""

    scope = "user"

    def client(self, request: Request) -> str | None:
        """Return the user's number."""
        user = request.user
        return str(user.pk) if user and user.is_authenticated else None


class LoginThrottle(RateThrottle):
    """For each address that tries passwords."""

    scope = "login"

    def client(self, request: Request) -> str | None:
        """Return the client's address."""
        return address(request)


def address(request: Request) -> str:
    """Return the client's network address; of IPv6 the network, since a client has all of it."""
    text = request.META.get("REMOTE_ADDR", "")
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return text
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
