"""The `.env` reader: what it takes means the same to docker compose and to a shell."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.environment import dotenv

# Line -> value, for every form that is allowed.
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

# What two readers read differently, or one does not read at all.
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
def test_a_safe_line_has_this_value(line: str, value: str) -> None:
    """Each allowed form is read, and nothing is said about it."""
    assert dotenv.parse(line) == dotenv.DotEnv({"A": value})


@pytest.mark.parametrize("line", UNSAFE)
def test_any_other_line_is_a_fault_that_names_the_line_and_not_the_value(line: str) -> None:
    """A user's password must not come out in a log."""
    found = dotenv.parse(f"# a comment\nB=1\n\n{line}\nC=2\n")
    assert found.values == {"B": "1", "C": "2"}
    [fault] = found.faults
    assert fault.name == ".env line 4"
    assert fault.hint
    assert "hidden" not in str(fault)


def test_comments_and_blank_lines_say_nothing() -> None:
    """A line that is not an assignment is not one."""
    assert dotenv.parse("\n#A=1\n  # B=2\n   \n") == dotenv.DotEnv()


def test_of_two_lines_the_later_counts_with_a_warning() -> None:
    """As in a shell."""
    found = dotenv.parse("A=1\nA=2\n")
    assert found.values == {"A": "2"}
    assert not found.faults
    [warning] = found.warnings
    assert "line 2" in warning.name
    assert "line 1" in warning.problem


def test_only_a_newline_ends_a_line() -> None:
    """U+2028 and its like are part of a value for docker compose and shells."""
    assert dotenv.parse("A='a\u2028b'").values == {"A": "a\u2028b"}


def test_line_ends_of_windows_have_their_own_hint() -> None:
    """Quotes would not help."""
    assert "Unix line ends" in dotenv.parse("A=1\r\n").faults[0].hint


def test_no_file_is_an_empty_one(tmp_path: Path) -> None:
    """A fresh clone has none."""
    assert dotenv.read(tmp_path / ".env") == dotenv.DotEnv()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"A=\xff", "other.env: it is not UTF-8 text\n    Save it as UTF-8."),
        (b"\xef\xbb\xbfA=1", "other.env line 1: it starts with a byte order mark\n    Save it as"),
        (b"A=1\nB = 2", "other.env line 2: "),
        (b"A=1\n\t\n", "other.env line 2: "),
        (b"A=1\nB= \t# comment", "other.env line 2: "),
    ],
)
def test_a_file_in_the_wrong_encoding_is_a_fault(tmp_path: Path, content: bytes, said: str) -> None:
    """Editors on Windows write such files."""
    path = tmp_path / "other.env"
    path.write_bytes(content)
    found = dotenv.read(path)
    assert [str(fault).startswith(said) for fault in found.faults] == [True], found
    assert "A" not in found.values or "line 2" in said


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """A directory, for one: docker makes one in place of a missing file that is mounted."""
    (tmp_path / ".env").mkdir()
    [fault] = dotenv.read(tmp_path / ".env").faults
    assert "cannot be read" in fault.problem


def values_to_write() -> list[str]:
    """Return values of every difficult kind, the same ones in each run."""
    alphabet = "ab1 #$'\"\\`~;&|<>(){}[]*?!%^@,+:/=-_.é한"
    generator = random.Random(20250131)
    drawn = ["".join(generator.choices(alphabet, k=generator.randint(1, 8))) for _ in range(600)]
    return [*SAFE.values(), *drawn]


def writable(value: str) -> bool:
    r"""Return whether a value can stand in a `.env` at all: not all that mix ' with ` can."""
    return not ("'" in value and "`" in value) and not (value.endswith("\\") and "`" in value)


def test_what_is_written_is_read_back() -> None:
    """Of each value, unless no form can hold it: then that is said."""
    for value in values_to_write():
        if writable(value):
            assert dotenv.parse(f"X={dotenv.write(value)}").values == {"X": value}
        else:
            with pytest.raises(ValueError, match=r"cannot be written into a \.env"):
                dotenv.write(value)


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Write one `.env` with every safe form and many difficult values; return what it says."""
    lines = [line.replace("A=", f"S{n}=", 1) for n, line in enumerate(SAFE)]
    drawn = [value for value in values_to_write() if writable(value)]
    lines += [f"D{n}={dotenv.write(value)}" for n, value in enumerate(drawn)]
    # As drawn, where that happens to be a line of the safe subset: forms that write() never picks.
    raw = [f"R{n}={value}" for n, value in enumerate(values_to_write())]
    quoted = [f'Q{n}="{value}"' for n, value in enumerate(values_to_write())]
    lines += [line for line in (*raw, *quoted) if not dotenv.parse(line).faults]
    path = tmp_path_factory.mktemp("project") / ".env"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = dotenv.read(path)
    assert not found.faults
    assert len(found.values) == len(lines) > 800
    return path, dict(found.values)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_reads_the_same(shared_file: tuple[Path, dict[str, str]], shell: str) -> None:
    """`set -a; . ./.env` exports exactly the values that the reader returns."""
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


def test_docker_compose_reads_the_same(shared_file: tuple[Path, dict[str, str]]) -> None:
    """`docker compose config` fills in exactly the values that the reader returns."""
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
        # HOME may hold the compose plugin.
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        input=json.dumps(project),
        capture_output=True,
        text=True,
        check=True,
    )
    # `config` doubles each $, so that its output could be read again.
    environment = json.loads(done.stdout)["services"]["a"]["environment"]
    assert {name: text.replace("$$", "$") for name, text in environment.items()} == expected
