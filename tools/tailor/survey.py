"""What an existing Django project consists of, read from its files: none of its code is run."""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.tailor.requirements import requirements_of
from tools.tailor.versions import SurveyError, series_of

LAYERS: Final = ("local", "dev", "production", "test")
# The usual names of settings modules, by layer.
USUAL: Final = {
    "local": ("local", "dev", "development", "base", "common"),
    "dev": ("staging", "production", "prod", "base", "common"),
    "production": ("production", "prod", "base", "common"),
    "test": ("test", "tests", "testing", "dev", "development", "base", "common"),
}
SKIPPED: Final = {"node_modules", "site-packages", "venv", "env", "migrations", "__pycache__"}
URLS: Final = {
    "env.db": "DATABASE_URL",
    "env.cache": "CACHE_URL",
    "env.cache_url": "CACHE_URL",
    "env.email_url": "EMAIL_URL",
}
FOLDER: Final = re.compile(r"\w+_(ROOT|DIR|PATH|FOLDER|LOCATION)")
BASES: Final = {"BASE_DIR", "PROJECT_DIR", "PROJECT_ROOT", "ROOT_DIR", "APPS_DIR"}


@dataclass(frozen=True)
class Read:
    """A variable of the environment that the settings read."""

    name: str
    where: str
    required_in: frozenset[str]


@dataclass(frozen=True)
class Survey:
    """What the survey detected.

    Attributes:
        root: the folder of manage.py.
        settings: the settings module of each layer.
        urls: the root URLconf.
        user_model: AUTH_USER_MODEL.
        celery: the dotted name of its Celery application, or nothing.
        requirements: the files that name its packages.
        packages: the requirements themselves, where those are in no requirements file.
        django: the newest series of Django that it accepts and the stack runs on.
        variables: what the settings read from the environment for themselves.
        unused: what they read for values that the stack decides.
        folders: settings of its own that name a folder.
    """

    root: Path
    settings: dict[str, str]
    urls: str
    user_model: str
    celery: str
    requirements: tuple[Path, ...]
    packages: tuple[str, ...]
    django: str
    variables: tuple[Read, ...]
    unused: tuple[str, ...]
    folders: tuple[str, ...]


def survey(root: Path, decided: re.Pattern[str], known: set[str], settings: str = "") -> Survey:
    """Return what a project consists of.

    Args:
        root: the folder of its manage.py.
        decided: matches the settings that the stack decides.
        known: the stack's own variables.
        settings: its settings module, where that is not plain.

    Raises:
        SurveyError: it is not a Django project, or its settings cannot be determined.
    """
    modules = settings_of(root, settings)
    trees = {module: list(chain(root, module)) for module in set(modules.values())}
    constants = {
        name: value
        for module in (modules["local"], modules["production"])
        for name, value in values(trees[module])
    }
    urls = constants.get("ROOT_URLCONF", "")
    if not is_module(root, urls):
        raise SurveyError(
            f"{modules['production']} does not set ROOT_URLCONF to a string, or that "
            "module does not exist. Write it there: ROOT_URLCONF = 'shop.urls'."
        )
    requirements, packages = requirements_of(root)
    django = series_of(packages)
    variables, unused = variables_of(trees, modules, decided, known)
    return Survey(
        root=root,
        settings=modules,
        urls=urls,
        user_model=constants.get("AUTH_USER_MODEL", "auth.User"),
        celery=celery_of(root),
        requirements=requirements,
        packages=packages,
        django=django,
        variables=variables,
        unused=unused,
        folders=tuple(folders_of(trees, decided)),
    )


def uncommitted(root: Path, stack: Path) -> str:
    """Return the first uncommitted file of a repository, but for the stack's folder; or nothing.

    Raises:
        SurveyError: it is no repository.
    """
    if not root.is_dir():
        raise SurveyError(
            f"{root} is not a folder. Name the one that has manage.py: --data project=.."
        )
    done = subprocess.run(  # noqa: S603 (git itself)
        ["git", "status", "--porcelain", "--", ".", f":(exclude){stack.name}"],  # noqa: S607
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SurveyError(
            f"{root} is not a git repository, which an update needs. Run `git init`, commit your "
            "project, then this command again."
        )
    return done.stdout.partition("\n")[0][3:]


def settings_of(root: Path, wanted: str) -> dict[str, str]:
    """Return the settings module of each layer: by its usual name, else what manage.py names.

    Raises:
        SurveyError: there is no manage.py, or it names no module of the project.
    """
    manage = root / "manage.py"
    # A wanted module needs none: manage.py is not always next to the code (src/).
    if not wanted and not (manage.is_file() and "django" in manage.read_text(errors="replace")):
        below = [path.parent.name for path in sorted(root.glob("*/manage.py"))]
        raise SurveyError(
            f"{root} is not a Django project: it has no manage.py. Name the folder that has it: "
            f"--data project=../{below[0] if below else 'backend'}."
        )
    module = wanted or named_in(manage)
    if not is_module(root, module):
        candidates = sorted(set(candidates_in(root)))
        for candidate in candidates:
            if not wanted and module and candidate.endswith(f".{module}"):
                place = candidate.removesuffix(f".{module}").replace(".", "/")
                raise SurveyError(
                    f"manage.py names {module}, which is in {place}/. Name that folder and the "
                    f"module: --data project=../{place} --data settings={module}."
                )
        if wanted or len(candidates) != 1:
            reason = "manage.py does not say which settings it uses."
            if module:
                who = "is" if wanted else "is named by manage.py, and is"
                reason = f"{module} {who} no module of {root}."
            raise SurveyError(
                f"{reason} Name them: --data settings=MODULE. "
                f"Candidates: {', '.join(candidates) or 'none'}."
            )
        module = candidates[0]
    package, _, last = module.rpartition(".")
    folder = root.joinpath(*package.split(".")) if package else root
    usual = {name for names in USUAL.values() for name in names}
    if file_of(root, module).name == "__init__.py":
        package, folder, last = module, file_of(root, module).parent, ""
    elif wanted or last not in usual or not (folder / "__init__.py").is_file():
        return dict.fromkeys(LAYERS, module)
    names = {path.stem for path in folder.glob("*.py")}
    if not last and is_settings(folder / "__init__.py"):
        names -= {"base", "common"}
    others = sorted(
        name for name in names - usual - {"__init__"} if is_settings(folder / f"{name}.py")
    )
    if len(others) > 1 and not names & {"production", "prod"}:
        raise SurveyError(
            f"{package} has no production.py, and {len(others)} modules that may be it: "
            f"{', '.join(others)}. Name one: --data settings={package}.{others[0]}."
        )
    own = others[0] if others and not names & {"production", "prod"} else ""
    result = {}
    for layer, choices in USUAL.items():
        preferred = (own, *choices) if layer in ("dev", "production") else choices
        name = next((name for name in preferred if name and name in names), last)
        result[layer] = f"{package}.{name}" if name else package
    # Local settings of one person are not in the repository (`from .local import *`).
    if result["local"].endswith(".local") and names & {"dev", "development"}:
        result["local"] = f"{package}.{'dev' if 'dev' in names else 'development'}"
    return result


def is_settings(path: Path) -> bool:
    """Return whether a module has settings, rather than being the `__init__.py` of a package."""
    content = path.read_text(errors="replace")
    return "INSTALLED_APPS" in content or "import *" in content


def named_in(path: Path) -> str:
    """Return the settings module that a manage.py names."""
    content = path.read_text(errors="replace")
    match = re.search(r"""DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""", content)
    return match[1] if match else ""


def candidates_in(root: Path) -> Iterator[str]:
    """Yield the modules that have INSTALLED_APPS."""
    for path in sources(root):
        if re.search(r"^INSTALLED_APPS\b", path.read_text(errors="replace"), re.M):
            yield ".".join(path.relative_to(root).with_suffix("").parts)


def sources(root: Path, suffix: str = ".py") -> Iterator[Path]:
    """Yield the project's files of a kind, but for other people's."""
    for path in sorted(root.rglob(f"*{suffix}")):
        parts = path.relative_to(root).parts[:-1]
        stack = (root / parts[0] / ".copier-answers.yml").is_file() if parts else False
        skipped = any(part in SKIPPED or part.startswith(".") for part in parts)
        if path.is_file() and not stack and not skipped:
            yield path


def file_of(root: Path, module: str) -> Path:
    """Return a module's file, or a path that is no file."""
    path = root.joinpath(*module.split("."))
    package = path / "__init__.py"
    return package if package.is_file() else path.with_suffix(".py")


def is_module(root: Path, name: str) -> bool:
    """Return whether a dotted name is that of a module of the project."""
    return bool(re.fullmatch(r"\w+(\.\w+)*", name)) and file_of(root, name).is_file()


def parsed(path: Path) -> ast.Module:
    """Return a module's syntax tree.

    Raises:
        SurveyError: it is no Python.
    """
    try:
        # As bytes: a file may name its encoding, or begin with a byte order mark.
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise SurveyError(f"{path}{line} is not valid Python: {reason}.") from None


def chain(
    root: Path, module: str, seen: frozenset[str] = frozenset()
) -> Iterator[tuple[str, ast.Module]]:
    """Yield a settings module's tree after those that it imports by `*`.

    Raises:
        SurveyError: one of them is no Python.
    """
    path = file_of(root, module)
    if module in seen or not path.is_file():
        return
    tree = parsed(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(above) if node.level else ""
            yield from chain(root, ".".join(filter(None, (base, node.module))), seen | {module})
    yield module, tree


def values(trees: list[tuple[str, ast.Module]]) -> Iterator[tuple[str, str]]:
    """Yield the settings that are plain texts."""
    for _, tree in trees:
        for names, value in assignments(tree):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield from ((name, value.value) for name in names)


def assignments(tree: ast.Module) -> Iterator[tuple[list[str], ast.expr]]:
    """Yield what a module assigns, in blocks too: the names, and the value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            # DATABASES["default"]["HOST"] = ... sets DATABASES.
            targets = [ast.unparse(target).partition("[")[0] for target in node.targets]
            yield targets, node.value
        elif isinstance(node, ast.AnnAssign | ast.AugAssign) and node.value:
            yield [ast.unparse(node.target).partition("[")[0]], node.value


def variables_of(
    trees: dict[str, list[tuple[str, ast.Module]]],
    modules: dict[str, str],
    decided: re.Pattern[str],
    known: set[str],
) -> tuple[tuple[Read, ...], tuple[str, ...]]:
    """Return the variables for the project's own settings, and those for the stack's.

    Args:
        trees: each settings module's files with their syntax trees.
        modules: the settings module of each layer.
        decided: matches the settings that the stack decides.
        known: the stack's own variables.
    """
    own: dict[str, tuple[str, set[str]]] = {}
    unused: set[str] = set()
    defaults = {
        name for module in modules.values() for _, tree in trees[module] for name in scheme(tree)
    }
    for layer, module in modules.items():
        for place, tree in trees[module]:
            declared = {
                node
                for names, value in assignments(tree)
                if all(decided.fullmatch(name) for name in names)
                for node in ast.walk(value)
            }
            for node in ast.walk(tree):
                name, required = read(node)
                required = required and name not in defaults
                # The stack's own: the containers have it, `make run` may not.
                if node in declared or name in known:
                    unused |= {name} if required else set()
                elif re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", name):
                    layers = own.setdefault(name, (place, set()))[1]
                    layers |= {layer} if required and layer != "test" else set()
    # A variable of both kinds is the project's.
    variables = [Read(name, place, frozenset(layers)) for name, (place, layers) in own.items()]
    return tuple(variables), tuple(sorted(unused - set(own) - {""}))


def scheme(tree: ast.Module) -> Iterator[str]:
    """Yield the variables that have a default in `Env(NAME=(int, 20))` (django-environ)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Env":
            for word in node.keywords:
                if word.arg and isinstance(word.value, ast.Tuple) and len(word.value.elts) > 1:
                    yield word.arg


def read(node: ast.AST) -> tuple[str, bool]:
    """Return the variable that an expression reads, and whether it must be set; else nothing.

    os.environ["NAME"], os.environ.get("NAME"), os.getenv, and calls of `env` (django-environ,
    environs) and `config` (python-decouple).
    """
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        if ast.unparse(node.value) in ("os.environ", "environ"):
            return text(node.slice), True
        return "", False
    if not isinstance(node, ast.Call):
        return "", False
    called = ast.unparse(node.func)
    if not node.args:
        # django-environ has names of its own for these.
        return URLS.get(called, ""), "default" not in {word.arg for word in node.keywords}
    if called in ("os.environ.get", "environ.get", "os.getenv", "getenv"):
        return text(node.args[0]), False
    if re.fullmatch(r"(env|config)(\.\w+)?", called):
        optional = len(node.args) > 1 or any(word.arg == "default" for word in node.keywords)
        return text(node.args[0]), not optional
    return "", False


def text(node: ast.expr) -> str:
    """Return a constant's text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def celery_of(root: Path) -> str:
    """Return the dotted name of the Celery application, or nothing."""
    # celery.py first: a test may make an application of its own.
    for path in sorted(sources(root), key=lambda path: path.stem != "celery"):
        match = re.search(
            r"^(\w+)(: ?\w+)? = (celery\.)?Celery\(", path.read_text(errors="replace"), re.M
        )
        if match:
            parts = path.relative_to(root).with_suffix("").parts
            return ".".join([*(part for part in parts if part != "__init__"), match[1]])
    return ""


def folders_of(
    trees: dict[str, list[tuple[str, ast.Module]]], decided: re.Pattern[str]
) -> list[str]:
    """Return the settings of the project's own that name a folder."""
    names = {
        name
        for parsed in trees.values()
        for _, tree in parsed
        for assigned, value in assignments(tree)
        for name in assigned
        if (FOLDER.fullmatch(name) or has_folder(value)) and not decided.fullmatch(name)
    }
    return sorted(names - BASES - {"TEMPLATES"})


def has_folder(value: ast.expr) -> bool:
    """Return whether a value has a dictionary with a folder in it: {"PATH": BASE_DIR / "index"}."""
    return any(
        isinstance(name, ast.Name) and name.id in BASES
        for node in ast.walk(value)
        if isinstance(node, ast.Dict)
        for item in node.values
        for name in ast.walk(item)
    )
