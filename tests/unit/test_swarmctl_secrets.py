"""The Docker secrets that `./swarmctl` makes of `.env`."""

from pathlib import Path

import pytest

from tests.unit.swarm import VALUES, config
from tools.swarmctl import docker_secrets


class Secrets:
    """The Docker secrets of a swarm.

    Attributes:
        rows: name and label of each, in the order in which they were created.
        values: in the same order.
    """

    def __init__(self) -> None:
        """Begin without a secret."""
        self.rows: list[str] = []
        self.values: list[str | None] = []

    def docker(self, *arguments: str, given: str | None = None) -> str:
        """Answer a command of the docker client."""
        if arguments[:2] == ("secret", "create"):
            label, name = arguments[3:5]
            self.rows.append(f"{name}\t{label.partition('=')[2]}")
            self.values.append(given)
        return "\n".join(reversed(self.rows))


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """Replace the docker client."""
    result = Secrets()
    monkeypatch.setattr(docker_secrets, "docker", result.docker)
    return result


def test_secret_in_a_file_is_read_and_a_sample_is_none(tmp_path: Path) -> None:
    file = tmp_path / "word"
    file.write_text("from a file\n")

    assert docker_secrets.values_of(config(DB_PASSWORD_FILE=str(file))) == {
        "DB_PASSWORD": "from a file"
    }


def test_changed_secret_is_a_new_one_and_an_unchanged_one_is_kept(secrets: Secrets) -> None:
    names = docker_secrets.update("shop", VALUES)
    assert names["DB_PASSWORD"] == "shop.DB_PASSWORD"
    assert "one$two" in secrets.values
    created = list(secrets.rows)

    assert docker_secrets.update("shop", VALUES) == names
    assert secrets.rows == created
    changed = docker_secrets.update("shop", {**VALUES, "DB_PASSWORD": "other"})
    assert changed == {**names, "DB_PASSWORD": "shop.DB_PASSWORD.2"}
    assert docker_secrets.update("shop", VALUES)["DB_PASSWORD"] == "shop.DB_PASSWORD.3"


def test_secret_made_by_hand_is_used_as_it_is(secrets: Secrets) -> None:
    secrets.rows = ["shop.SENTRY_DSN\t", "shop2.EMAIL_URL\t", "shop.TYPO\t", "other\t"]

    assert docker_secrets.update("shop", {}) == {
        "SENTRY_DSN": "shop.SENTRY_DSN",
        "DB_MIGRATION_PASSWORD": "shop.DB_MIGRATION_PASSWORD",
    }
