"""The files generated from the contract match it, and are valid."""

import re
import subprocess
import sys

import pytest
import yaml

from ops import environment
from ops.environment import cli, dotenv, render
from ops.environment.contract import VARIABLES
from ops.environment.fault import InvalidValueError
from ops.environment.variable import SHARED, Kind, Scope, Section, Variable
from tests.tree import ROOT

ASSIGNMENT = re.compile(r"^(#?)([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)


def test_generated_files_match_the_contract() -> None:
    """`./manage.py env write` renews them."""
    done = subprocess.run(
        [sys.executable, "manage.py", "env", "write", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_compose_passes_a_file_for_each_secret() -> None:
    text = cli.COMPOSE_PATH.read_text(encoding="utf-8")
    secrets = {name for name, variable in VARIABLES.items() if variable.secret}
    assert set(re.findall(r"source: \"\$\{(\w+)_FILE:-/dev/null\}\"", text)) >= secrets


def test_env_sample_lists_every_dotenv_variable_once() -> None:
    """Required ones are empty, the others commented out with the local default, without secrets."""
    result = {name: (mark, text) for mark, name, text in ASSIGNMENT.findall(render.sample())}
    assert set(result) == set(VARIABLES) - {"DJANGO_BUILD"}
    assert len(result) == len(ASSIGNMENT.findall(render.sample()))
    for name, (mark, text) in result.items():
        variable = VARIABLES[name]
        if variable.required_in:
            assert (mark, text) == ("", "")
        else:
            assert mark == "#"
            default = "" if variable.secret else variable.default_in("local")
            assert dotenv.parse(f"{name}={text}").values == {name: default}


def test_env_sample_has_help_default_and_layers_of_each_variable() -> None:
    blocks = render.sample().split("\n\n")
    for variable in VARIABLES.values():
        if not variable.in_dotenv:
            continue
        [block] = [b for b in blocks if re.search(rf"^#?{variable.name}=", b, re.MULTILINE)]
        text = block.replace("\n# ", " ")
        assert variable.help in text
        assert "# default: " in block or " default: " in text
        assert ("required in: dev, production" in text) is bool(variable.required_in)
        assert all(choice in text for choice in variable.choices)


def test_env_sample_is_a_valid_local_dotenv() -> None:
    """Also with all optional lines uncommented."""
    for text in (render.sample(), ASSIGNMENT.sub(r"\2=\3", render.sample())):
        result = dotenv.parse(text)
        assert (result.faults, result.warnings) == ((), ())
        assert environment.faults(result.values, "local", dotenv=result) == []
    assert len(result.values) == len(VARIABLES) - 1


def test_generated_files_have_no_sample_secret() -> None:
    """A copy in production must report missing secrets, not use public ones."""
    samples = [variable.sample for variable in VARIABLES.values() if variable.sample]
    assert samples
    for sample in samples:
        assert sample not in render.sample()
        assert sample not in render.table()


def test_docs_table_has_a_row_for_every_variable() -> None:
    rows = {
        cells[1].strip().strip("`"): cells
        for line in render.table().splitlines()
        if line.startswith("| `")
        for cells in [re.split(r"(?<!\\)\|", line)]
    }
    assert set(rows) == set(VARIABLES)
    assert {len(cells) for cells in rows.values()} == {7}
    for name, cells in rows.items():
        required = {item.strip() for item in cells[4].split(",")} - {"-"}
        assert required == VARIABLES[name].required_in <= SHARED


def test_docs_table_and_env_sample_show_type_default_layers_and_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = (
        Variable(name="SHOP_KEY", help="A | B.", secret=True, sample="s", required_in=SHARED),
        Variable(name="SHOP_LIMIT", help="So many.", kind=Kind.INT, minimum=1, maximum=9),
        Variable(name="SHOP_FLOOR", help="From.", kind=Kind.INT, minimum=1),
        Variable(name="SHOP_OPEN", help="Open.", kind=Kind.BOOL, default="true"),
        Variable(
            name="SHOP_SIDE",
            help="Which.",
            kind=Kind.CHOICE,
            choices=("a", "b"),
            default="a",
            layer_defaults={"dev": "b"},
            scope=Scope.STACK,
        ),
    )
    monkeypatch.setattr(render, "CONTRACT", (Section("Shop", "What it sells.", shop),))

    assert render.table().splitlines()[2:-2] == [
        *("### Shop", "", "What it sells.", ""),
        *("| Variable | Type | Default | Required in | Meaning |", "|---|---|---|---|---|"),
        r"| `SHOP_KEY` | secret text | none | dev, production | A \| B. |",
        "| `SHOP_LIMIT` | number | none | - | So many. Values: 1 to 9. |",
        "| `SHOP_FLOOR` | number | none | - | From. |",
        "| `SHOP_OPEN` | true or false | `true` | - | Open. |",
        "| `SHOP_SIDE` | choice (stack) | local: `a`; dev: `b`; production: `a` | - "
        "| Which. Values: a, b. |",
    ]
    title, *entries = render.sample().split("\n\n")[-6:]
    assert title == "# ---- Shop ".ljust(title.index("\n"), "-") + "\n# What it sells."
    assert entries == [
        "# A | B.\n# default: none\n# required in: dev, production\nSHOP_KEY=",
        "# So many.\n# Values: 1 to 9.\n# default: none\n#SHOP_LIMIT=",
        "# From.\n# default: none\n#SHOP_FLOOR=",
        "# Open.\n# Values: true, false.\n# default: true\n#SHOP_OPEN=true",
        "# Which.\n# Values: a, b.\n# default: local: a; dev: b; production: a\n#SHOP_SIDE=a\n",
    ]


def test_env_sample_wraps_comments_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken URL or option cannot be copied."""
    address, option = f"https://example.com/{'a' * 100}", "--one-long-option"
    text = f"See {address} or use {'it ' * 27}{option}."
    section = Section("Shop", text, ())
    monkeypatch.setattr(render, "CONTRACT", (section,))

    *_, first, second, third, fourth = render.sample().splitlines()

    assert (first, second) == ("# See", f"# {address}")
    assert third == f"# or use {'it ' * 27}".rstrip() and fourth == f"# {option}."


def test_compose_file_passes_on_names_defaults_and_secret_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = (
        Variable(name="SHOP_KEY", help="", secret=True),
        Variable(name="SHOP_PIN", help="", secret=True),
        Variable(name="SHOP_MODE", help=""),
        Variable(name="SHOP_PORT", help="", scope=Scope.STACK),
        # The image sets it.
        Variable(name="MEDIA_ROOT", help=""),
    )
    monkeypatch.setattr(render, "VARIABLES", {variable.name: variable for variable in shop})
    monkeypatch.setattr(render, "MIGRATE_ONLY", ("SHOP_ROOT", "SHOP_ROOT_PASSWORD"))
    monkeypatch.setattr(render, "FORMER", {"SHOP_DOOR": "SHOP_PORT"})
    monkeypatch.setattr(render, "GIVEN", {"SHOP_MODE": "open"})

    text = render.compose()

    services = yaml.safe_load(text)["services"]
    assert f"# Generated by `{render.COMMAND} write`" in text
    assert services["application"]["environment"] == {
        "SHOP_KEY": None,
        "SHOP_PIN": None,
        "SHOP_MODE": "${SHOP_MODE:-open}",
    }
    assert services["migrate"]["environment"] == {"SHOP_ROOT": None, "SHOP_ROOT_PASSWORD": None}
    assert services["env-check"]["environment"] == {"SHOP_PORT": None, "SHOP_DOOR": None}
    assert [(mount["source"], mount["target"]) for mount in services["env-check"]["volumes"]] == [
        ("${SHOP_KEY_FILE:-/dev/null}", "/run/secrets/SHOP_KEY"),
        ("${SHOP_PIN_FILE:-/dev/null}", "/run/secrets/SHOP_PIN"),
    ]


def test_docs_page_without_table_marks_is_refused() -> None:
    """It must not be overwritten."""
    for page in ("", "# Text\n", render.TABLE_BEGIN, render.TABLE_END):
        with pytest.raises(ValueError, match="has no lines"):
            render.docs(page)
    page = f"before\n{render.TABLE_BEGIN}\nold\n{render.TABLE_END}\nafter\n"
    assert render.docs(page) == f"before\n{render.table()}\nafter\n"
    # Text after the table may contain the marks.
    assert render.docs(page + render.TABLE_BEGIN).endswith(f"\nafter\n{render.TABLE_BEGIN}")


@pytest.mark.parametrize("layer", ["local", "dev", "production"])
@pytest.mark.parametrize("ipv6", [False, True])
def test_fresh_env_is_valid_except_for_values_to_fill_in(layer: str, ipv6: bool) -> None:
    text, unknown = render.fresh(layer, ipv6=ipv6)
    result = dotenv.parse(text)
    assert result.faults == ()
    faults = environment.faults(result.values, layer, dotenv=result)
    assert [fault.name for fault in faults] == unknown
    assert unknown == ([] if layer == "local" else ["DJANGO_ALLOWED_HOSTS"])
    for name in unknown:
        assert re.search(rf"^# FILL IN: .+\n{name}=$", text, re.MULTILINE)
    filled = {**result.values, "DJANGO_ALLOWED_HOSTS": "www.example.com"}
    assert environment.faults(filled, layer) == []
    assert result.values["LAYER"] == layer
    assert ("HTTP_IPV6_ADDRESS" in result.values) is ipv6
    # In the local layer, application and servers use the samples.
    assert ("DB_PASSWORD" in result.values) is (layer != "local")


@pytest.mark.parametrize("layer", ["dev", "production"])
@pytest.mark.parametrize(
    ("name", "choice"),
    [
        *(("BROKER", broker) for broker in VARIABLES["BROKER"].choices),
        *(("DB_ENGINE", engine) for engine in ("mysql", "postgres")),
    ],
)
def test_fresh_env_is_valid_with_every_broker_and_database(
    layer: str, name: str, choice: str
) -> None:
    result = dotenv.parse(render.fresh(layer, ipv6=False)[0]).values
    filled = {**result, "DJANGO_ALLOWED_HOSTS": "www.example.com", name: choice}
    assert environment.faults(filled, layer) == []


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        (Kind.BOOL, "on", "true"),
        (Kind.BOOL, "0", "false"),
        (Kind.LIST, "a, b", "a,b"),
        (Kind.INT, "7", "7"),
        (Kind.TEXT, "a b", "a b"),
        (Kind.INT, "", ""),
    ],
)
def test_env_get_prints_normalized_values_and_refuses_secrets(
    kind: Kind, text: str, shown: str
) -> None:
    assert render.shown(Variable(name="SHOP", help="", kind=kind), text) == shown
    with pytest.raises(InvalidValueError, match="never printed") as refused:
        render.shown(Variable(name="SHOP", help="", kind=kind, secret=True), text)
    assert refused.value.hint == "Open its file, or .env."


def test_fresh_env_has_new_secrets_each_time() -> None:
    texts = [dotenv.parse(render.fresh("production", ipv6=False)[0]).values for _ in range(2)]
    names = [name for name in texts[0] if name in VARIABLES and VARIABLES[name].secret]
    assert names == [
        *("DJANGO_SECRET_KEY", "STATS_PASSWORD", "BACKUP_PASSWORD"),
        *("DB_PASSWORD", "REDIS_PASSWORD", "BROKER_PASSWORD"),
    ]
    values = [values[name] for values in texts for name in names]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)
