"""The demo's cards on the status page."""

from demo import counters
from demo.views.hits import VISITS as COUNTER
from ops.registry import Card

UPLOADS = Card("uploads", "demo/uploads.html", scripts=("demo/uploads.js",), public=True, wide=True)
VISITS = Card(
    "visits",
    "demo/visits.html",
    page_scripts=("demo/visit.js",),
    state=lambda: counters.read(COUNTER),
)
