"""The `.env` reader accepts what docker compose and a shell read the same way."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.environment import dotenv

# Line -> value, for every supported form.
SAFE = {
    "A=": "",
    "A=plain": "plain",
    "A=a#b": "a#b",
    "A=#b": "#b",
    "A=b # comment, it's $x \"y": "b",
    "A=x #": "x",
    "A=x  ": "x",
    "A=localhost,127.0.0.1,[::1]": "localhost,127.0.0.1,[::1]",
    "A=a%b^@,+:/?[]{}*!-_.=": "a%b^@,+:/?[]{}*!-_.=",
    "A=한글é": "한글é",
    "export A=x": "x",
    "A=''": "",
    "A= ": "",
    "A='' # c": "",
    'A="" # c': "",
    "A='a b'": "a b",
    "A='a $x ${y} # z'": "a $x ${y} # z",
    r"A='a\b\\c\nd'": r"a\b\\c\nd",
    "A='a' # it's a comment": "a",
    "A='x # y' # z'": "x # y",
    "A='a;b`c`&|<>()*?~!\"{}=%'": 'a;b`c`&|<>()*?~!"{}=%',
    "A='한 글'": "한 글",
    'A=""': "",
    'A="it\'s # not a comment" # but this': "it's # not a comment",
    r'A="a\"b\\c\$d"': r'a"b\c$d',
    r'A="\\\\"': r"\\",
    r'A="\\\$HOME"': r"\$HOME",
    'A="!!"': "!!",
}

# Readers differ in the value of these lines, or reject them.
UNSAFE = [
    "A=a hidden",
    "A= hidden",
    "A= #hidden",
    "A =hidden",
    "A=hidden\t# tab before the comment",
    "A='a\thidden'",
    "A=$hidden",
    "A=hidden$$",
    "A=${hidden}",
    'A="$hidden"',
    'A="`hidden`"',
    r'A="hidden\n"',
    r"A=hidden\b",
    "A=~/hidden",
    "A=a:~/hidden",
    "A=hidden(b",
    "A=hidden;b",
    "A=hidden&b",
    "A=hidden|b",
    "A=hidden>b",
    "A=a'hidden",
    'A=a"hidden"',
    r"A='hidden\'",
    r"A='hidden\'s'",
    "A='hidden'b",
    "A='hidden'#c",
    'A="hidden"b',
    "A='hidden",
    'A="hidden',
    "A=hidden\r",
    "A=\xa0hidden",
    "A=hid\x00den",
    "hidden",
    "A: hidden",
    "1A=hidden",
    "A-B=hidden",
    "  A=hidden",
    "\tA=hidden",
]


@pytest.mark.parametrize(("line", "value"), SAFE.items())
def test_dotenv_reads_every_supported_form(line: str, value: str) -> None:
    assert dotenv.parse(line) == dotenv.DotEnv({"A": value})


@pytest.mark.parametrize("line", UNSAFE)
def test_dotenv_reports_an_ambiguous_line_by_number_without_its_value(line: str) -> None:
    """A password must not appear in a log."""
    result = dotenv.parse(f"# a comment\nB=1\n\n{line}\nC=2\n")
    assert result.values == {"B": "1", "C": "2"}
    [fault] = result.faults
    assert fault.name == ".env line 4"
    assert fault.hint
    assert "hidden" not in str(fault)


def test_dotenv_ignores_comments_and_blank_lines() -> None:
    assert dotenv.parse("\n#A=1\n  # B=2\n   \n") == dotenv.DotEnv()


def test_dotenv_uses_the_last_of_duplicate_names_with_a_warning() -> None:
    """As in a shell."""
    result = dotenv.parse("A=1\nA=2\n")
    assert result.values == {"A": "2"}
    assert not result.faults
    [warning] = result.warnings
    assert "line 2" in warning.name
    assert "line 1" in warning.problem


def test_dotenv_ends_a_line_only_at_a_newline() -> None:
    """For docker compose and shells, U+2028 and similar are part of a value."""
    assert dotenv.parse("A='a\u2028b'").values == {"A": "a\u2028b"}


def test_dotenv_hint_for_windows_line_ends() -> None:
    """The usual hint, quotes, would not help."""
    assert "Unix line ends" in dotenv.parse("A=1\r\n").faults[0].hint


def test_missing_dotenv_is_empty(tmp_path: Path) -> None:
    assert dotenv.read(tmp_path / ".env") == dotenv.DotEnv()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A=\xff", "other.env: it is not UTF-8 text\n    Save it as UTF-8."),
        (b"\xef\xbb\xbfA=1", "other.env line 1: it starts with a byte order mark\n    Save it as"),
        (b"A=1\nB = 2", "other.env line 2: "),
        (b"A=1\n\t\n", "other.env line 2: "),
        (b"A=1\nB= \t# comment", "other.env line 2: "),
    ],
)
def test_dotenv_with_wrong_encoding_or_invisible_characters_is_a_fault(
    tmp_path: Path, content: bytes, message: str
) -> None:
    """Editors on Windows write such files."""
    path = tmp_path / "other.env"
    path.write_bytes(content)
    result = dotenv.read(path)
    assert [str(fault).startswith(message) for fault in result.faults] == [True], result
    assert "A" not in result.values or "line 2" in message


def test_unreadable_dotenv_is_a_fault(tmp_path: Path) -> None:
    """Docker creates a directory for a bind mount whose file is missing."""
    (tmp_path / ".env").mkdir()
    [fault] = dotenv.read(tmp_path / ".env").faults
    assert "cannot be read" in fault.problem


def values_to_write() -> list[str]:
    """Return difficult values, the same in each run."""
    alphabet = "ab1 #$'\"\\`~;&|<>(){}[]*?!%^@,+:/=-_.é한"
    generator = random.Random(20250131)
    drawn = ["".join(generator.choices(alphabet, k=generator.randint(1, 8))) for _ in range(600)]
    return [*SAFE.values(), *drawn]


def is_writable(value: str) -> bool:
    r"""Return whether a `.env` can hold a value: not every mix of ' and ` fits."""
    return not ("'" in value and "`" in value) and not (value.endswith("\\") and "`" in value)


def test_dotenv_write_and_parse_round_trip() -> None:
    """A value that no form can hold is an error."""
    for value in values_to_write():
        if is_writable(value):
            assert dotenv.parse(f"X={dotenv.write(value)}").values == {"X": value}
        else:
            with pytest.raises(ValueError, match=r"cannot be written into a \.env"):
                dotenv.write(value)


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Write one `.env` with every supported form and many values; return path and values."""
    lines = [line.replace("A=", f"S{n}=", 1) for n, line in enumerate(SAFE)]
    drawn = [value for value in values_to_write() if is_writable(value)]
    lines += [f"D{n}={dotenv.write(value)}" for n, value in enumerate(drawn)]
    # Random lines that are valid by chance: forms that write() never chooses.
    raw = [f"R{n}={value}" for n, value in enumerate(values_to_write())]
    quoted = [f'Q{n}="{value}"' for n, value in enumerate(values_to_write())]
    lines += [line for line in (*raw, *quoted) if not dotenv.parse(line).faults]
    path = tmp_path_factory.mktemp("project") / ".env"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = dotenv.read(path)
    assert not result.faults
    assert len(result.values) == len(lines) > 800
    return path, dict(result.values)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell_reads_the_same_values_from_dotenv(
    shared_file: tuple[Path, dict[str, str]], shell: str
) -> None:
    """With `set -a; . ./.env`."""
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    path, expected = shared_file
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [shell, "-c", f"set -a; . ./.env; exec \"$0\" -c '{code}'", sys.executable],
        cwd=path.parent,
        env={"PATH": os.environ["PATH"], "HOME": "/home/nobody", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    exported = json.loads(done.stdout)
    assert {name: exported.get(name) for name in expected} == expected


def test_docker_compose_reads_the_same_values_from_dotenv(
    shared_file: tuple[Path, dict[str, str]],
) -> None:
    """As `docker compose config` prints them."""
    if (
        not shutil.which("docker")
        or subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("there is no docker compose here; install it to run this")
    path, expected = shared_file
    project = {
        "services": {
            "a": {"image": "x", "environment": {name: f"${{{name}}}" for name in expected}}
        }
    }
    done = subprocess.run(
        ["docker", "compose", "-f", "-", "config", "--format", "json"],
        cwd=path.parent,
        # The compose plugin may be in HOME.
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        input=json.dumps(project),
        capture_output=True,
        text=True,
        check=True,
    )
    # `config` doubles each $.
    environment = json.loads(done.stdout)["services"]["a"]["environment"]
    assert {name: text.replace("$$", "$") for name, text in environment.items()} == expected
