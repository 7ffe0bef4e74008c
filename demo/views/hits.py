"""/api/hits/: the visit counter."""

from collections.abc import Callable

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from demo import counters, schema

VISITS = "visits"


class CounterAwayError(APIException):
    """No number is better than a wrong one."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The visit counter is not available. Please try again shortly."
    default_code = "counter_unavailable"
    # DRF makes a Retry-After header of it.
    wait = 5


class HitsView(APIView):
    """Count a visit (POST) or read the count (GET)."""

    permission_classes = (AllowAny,)

    @schema.read_hits
    def get(self, request: Request) -> Response:
        """Answer with the visits so far and the server that answers."""
        return self.answer(counters.read)

    @schema.count_hit
    def post(self, request: Request) -> Response:
        """Count one visit and answer with the count that includes it."""
        return self.answer(counters.increment)

    def answer(self, ask: Callable[[str], int]) -> Response:
        """Return the count and the server's name.

        Raises:
            CounterAwayError: the counter does not answer.
        """
        try:
            hits = ask(VISITS)
        except counters.CounterUnavailableError as error:
            raise CounterAwayError from error
        return Response(
            {"hits": hits, "server": settings.PROFILE}, headers={"Cache-Control": "no-store"}
        )
