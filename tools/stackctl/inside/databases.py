"""The stack's database servers: how the data of each are saved and restored.

Scripts in inside/ do it in the database's container, as its administrator: the application's user
sees no function that an administrator has created.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..docker import compose, engine

# The databases into which a backup is loaded: to verify it, and before it replaces the live one.
VERIFIED: Final = "stackctl_verify"
RESTORED: Final = "stackctl_restore"
# The next step where the database's container is of another kind.
MOVE: Final = (
    "To move its data: docs/update.md, Move to the other database. Else set the former DB_ENGINE."
)
_INSIDE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A kind of database server."""

    # For people and for a backup's manifest.
    name: str
    # The image's name, without registry and tag.
    image: str
    # The variable of its container with the database's name.
    variable: str
    # What runs in its container.
    script: str
    # The last line of every complete dump.
    dump_end: bytes
    # Whether it undoes the changes of tables that a failed migration has made.
    undoes_changes: bool

    def command(self, container: str, *arguments: str) -> tuple[str, ...]:
        """Return the command that runs one of the script's actions."""
        script = (_INSIDE / self.script).read_text(encoding="utf-8")
        return ("docker", "exec", "-i", container, "bash", "-c", script, self.script, *arguments)


# remove_mysql: begin
MYSQL: Final = DatabaseServer(
    "MySQL", "mysql", "MYSQL_DATABASE", "mysql.sh", b"-- Dump completed", undoes_changes=False
)
# remove_mysql: end
# remove_postgres: begin
POSTGRESQL: Final = DatabaseServer(
    "PostgreSQL",
    "postgres",
    "POSTGRES_DB",
    "postgres.sh",
    b"-- PostgreSQL database dump complete",
    undoes_changes=True,
)
# remove_postgres: end
# The first one is meant where nothing says which.
SERVERS: Final = (MYSQL, POSTGRESQL)


def problem_of(project: compose.Project, container: engine.Container) -> str:
    """Return what is wrong with a database's container of another kind of server, or nothing.

    Args:
        project: the stack, with its present variables.
        container: the database's.
    """
    server = server_of(str(project.services.get(compose.DATABASE, {}).get("image", "")))
    if server is None or server.variable in container.environ:
        return ""
    return f"the running database is not {server.name}, which the present DB_ENGINE selects"


def server_of(image: str) -> DatabaseServer | None:
    """Return what server an image is of, if it is known."""
    name = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    return next((server for server in SERVERS if server.image == name), None)
