"""The measured targets, and the containers whose CPU counts as their cost."""

from dataclasses import dataclass

PROFILE_PATH = "/profile/"
STACK = ("haproxy", "server1", "server2")
UNLOGGED = tuple(f"{service}-unlogged" for service in STACK)


@dataclass(frozen=True)
class Target:
    """One route to the application.

    Attributes:
        key: the letter or name that the report refers to it by.
        title: its name in the report.
        service: the Compose service under load, whose network the load generator uses.
        port: the port of that service.
        serving: the services whose CPU counts.
        static: whether a static file is requested instead of the view.

    """

    key: str
    title: str
    service: str
    port: int
    serving: tuple[str, ...]
    static: bool = False


STATIC_STACK = "static through HAProxy"
STATIC_ALONE = "static from nginx"

TARGETS = (
    Target("a", "HAProxy + 2 x (nginx + uWSGI)", "haproxy", 8080, STACK),
    Target("b", "nginx + uWSGI", "nginx-uwsgi", 7999, ("nginx-uwsgi",)),
    Target("c", "uWSGI, http-socket", "uwsgi-http", 8000, ("uwsgi-http",)),
    Target("d", "gunicorn, sync", "gunicorn", 8000, ("gunicorn",)),
    Target("e", "granian, WSGI", "granian", 8000, ("granian",)),
    Target("p", "plain: Django on uWSGI", "plain", 8000, ("plain",)),
    Target("h", "(a), its lines not copied", "haproxy-unlogged", 8080, UNLOGGED),
    Target("i", "(c), Django's middleware", "uwsgi-middleware", 8000, ("uwsgi-middleware",)),
    # From its cache: no server is asked.
    Target("f", STATIC_STACK, "haproxy", 8080, ("haproxy",), static=True),
    Target("g", STATIC_ALONE, "nginx-uwsgi", 7999, ("nginx-uwsgi",), static=True),
)

# All started services.
SERVICES = tuple(sorted({service for target in TARGETS for service in target.serving}))


@dataclass(frozen=True)
class Aim:
    """A ratio of two targets' requests per second that the project wants to reach."""

    target: str
    reference: str
    at_least: float


AIMS = (Aim("a", "p", 0.7), Aim("a", "c", 0.85), Aim("a", "d", 2.0))

# Ratios of two targets' requests per second: what is left out or compared, then the two targets.
RATIOS = (
    ("the whole stack (a) to plain Django on uWSGI (p)", "a", "p"),
    ("without HAProxy (b) to the whole stack (a)", "b", "a"),
    ("without the engine's copies of log lines (h) to the whole stack (a)", "h", "a"),
    ("without nginx either (c) to without HAProxy (b)", "c", "b"),
    ("with Django's middleware and no log line (i) to the stack's (c)", "i", "c"),
    ("gunicorn, sync workers (d) to the whole stack (a)", "d", "a"),
    ("granian (e) to the whole stack (a)", "e", "a"),
    ("static files through HAProxy (f) to nginx alone (g)", "f", "g"),
)
