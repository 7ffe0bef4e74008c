"""The stack's database servers: how the data of each is saved and brought back.

The commands run in the database's container, whose variables they read, those that its image was
started with (docker-compose.databases.yaml): passwords stay there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Server:
    """One kind of server."""

    # For people and for a backup's manifest.
    name: str
    # The image's name, without what stands before and behind it.
    image: str
    # Shell: writes the database to standard output; and the words without which it is cut off.
    dump_script: str
    dump_end: bytes
    # Shell: makes the database what standard input says, and nothing of before stays: a table of a
    # later release would be in the way of its migration.
    load_script: str
    # SQL for the end of standard input, without which nothing of it lasts: the program cannot tell
    # an input that was cut off from a whole one. Empty where each statement lasts once it is done.
    load_end: bytes = b""

    def dump(self, container: str) -> tuple[str, ...]:
        """Return the command that writes the database to its standard output."""
        return ("docker", "exec", container, "bash", "-c", self.dump_script)

    def load(self, container: str) -> tuple[str, ...]:
        """Return the command that puts its standard input in the database's place."""
        return ("docker", "exec", "-i", container, "bash", "-c", self.load_script)


# The second names are those in a container that an earlier release has made: it stays until the
# database is made anew, and is saved before that.
_AS_MYSQL_S_APPLICATION: Final = (
    'user="${DB_USER:-$MYSQL_USER}"; export MYSQL_PWD="${DB_PASSWORD:-$MYSQL_PASSWORD}"; '
)
# https://dev.mysql.com/doc/refman/9.7/en/mysqldump.html
MYSQL: Final = Server(
    name="MySQL",
    image="mysql",
    dump_script=(
        f'{_AS_MYSQL_S_APPLICATION}exec mysqldump --user="$user" --single-transaction '
        "--no-tablespaces --set-gtid-purged=OFF --hex-blob --default-character-set=utf8mb4 "
        '"$MYSQL_DATABASE"'
    ),
    dump_end=b"-- Dump completed",
    load_script=(
        f"{_AS_MYSQL_S_APPLICATION}"
        'mysql --user="$user" --execute="DROP DATABASE IF EXISTS \\`$MYSQL_DATABASE\\`; '
        'CREATE DATABASE \\`$MYSQL_DATABASE\\`" && '
        'exec mysql --user="$user" --default-character-set=utf8mb4 "$MYSQL_DATABASE"'
    ),
)

_AS_THE_APPLICATION: Final = (
    'export PGPASSWORD="$POSTGRES_PASSWORD" PGUSER="$DB_USER" PGDATABASE="$POSTGRES_DB"; '
)
# The database itself is not the application's to make, but what is in it is: its schemas. Either
# all of it is replaced or nothing: psql's own --single-transaction would commit what came of an
# input that was cut off. A dump does not make `public`, which every new database has.
_EMPTY: Final = r"""
BEGIN;
SET client_min_messages = warning;
SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
CREATE SCHEMA public;
"""
# https://www.postgresql.org/docs/17/app-pgdump.html
POSTGRESQL: Final = Server(
    name="PostgreSQL",
    image="postgres",
    dump_script=f"{_AS_THE_APPLICATION}exec pg_dump --no-owner --no-privileges",
    dump_end=b"-- PostgreSQL database dump complete",
    load_script=(
        f"{_AS_THE_APPLICATION}{{ cat <<'END'{_EMPTY}END\n cat; }} | "
        "exec psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --output=/dev/null"
    ),
    load_end=b"\nCOMMIT;\n",
)


def server_of(image: str) -> Server | None:
    """Return what server an image is of, if it is known."""
    name = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    return next((server for server in (MYSQL, POSTGRESQL) if server.image == name), None)
