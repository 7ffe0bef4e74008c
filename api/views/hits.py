"""/api/hits/: the visit counter."""

from django.conf import settings
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.models import Counter

VISITS = "visits"


class HitsView(APIView):
    """Count a visit (POST) or read the count (GET)."""

    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        """Answer with the visits so far and the server that answers."""
        return self.answer(Counter.read(VISITS))

    def post(self, request: Request) -> Response:
        """Count one visit and answer with the count that includes it."""
        return self.answer(Counter.increment(VISITS))

    def answer(self, hits: int) -> Response:
        """Return the count beside the server's name."""
        return Response(
            {"hits": hits, "server": settings.PROFILE}, headers={"Cache-Control": "no-store"}
        )
