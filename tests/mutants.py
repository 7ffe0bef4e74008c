"""`make mutants`: mutmut changes one operator, constant or argument at a time and runs the tests.

pyproject.toml lists the modules. A mutant runs the unit tests that call its function, from files
that import its module or package. tests/mutants.txt lists mutants that are allowed to survive.
"""

import argparse
import fnmatch
import os
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libcst as cst
from mutmut import __main__ as mutmut
from mutmut.configuration import config
from mutmut.mutation import file_mutation, mutators
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

LISTED = Path("tests/mutants.txt")
# They compare files of the tree, only start processes, or need more pytest plugins.
LEFT_OUT = re.compile("test_(consistency|settings_layers|api_schema)")


def mutate_decorated_functions() -> None:
    """Make mutmut mutate functions with decorators (context managers, properties) too.

    It skips them because it would decorate the copies of the function too; here it does not.
    """
    skip = file_mutation.MutationVisitor._skip_node_and_children
    arrange = file_mutation.function_trampoline_arrangement

    def skip_node(self: Any, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef):
            node = node.with_changes(decorators=[])
        return skip(self, node)

    def bare_copies(function: cst.FunctionDef, *arguments: Any, **options: Any) -> Any:
        empty, (trampoline, *copies), filled, names = arrange(function, *arguments, **options)
        # mutmut handles these itself.
        kept = [
            one
            for one in function.decorators
            if isinstance(one.decorator, cst.Name)
            and one.decorator.value in ("staticmethod", "classmethod")
        ]
        bare = [copy.with_changes(decorators=kept) for copy in copies]
        return empty, [trampoline, *bare], filled, names

    vars(file_mutation)["function_trampoline_arrangement"] = bare_copies
    type.__setattr__(file_mutation.MutationVisitor, "_skip_node_and_children", skip_node)


def skip_equivalent_mutants() -> None:
    """Do not mutate messages (texts with a space), "utf-8", or False to None."""

    def mutate_identifiers(node: cst.BaseString) -> Iterator[cst.BaseString]:
        if not (isinstance(node, cst.SimpleString) and re.search(r" |utf-8", node.value)):
            yield from mutators.operator_string(node)

    def keep_documentation_arguments(node: cst.Call) -> Iterator[cst.Call]:
        names = ("encoding", "help", "metavar")
        kept = [arg for arg in node.args if arg.keyword and arg.keyword.value in names]
        for mutant in mutators.operator_arg_removal(node):
            if all(arg in mutant.args for arg in kept):
                yield mutant

    def keep_false(node: cst.Assign | cst.AnnAssign) -> Iterator[cst.CSTNode]:
        if not (isinstance(node.value, cst.Name) and node.value.value == "False"):
            yield from mutators.operator_assignment(node)

    own: dict[Any, Any] = {
        mutators.operator_string: mutate_identifiers,
        mutators.operator_arg_removal: keep_documentation_arguments,
        mutators.operator_assignment: keep_false,
    }
    file_mutation.mutation_operators = [
        (kind, own.get(operator, operator)) for kind, operator in mutators.mutation_operators
    ]


def mutate_flow_and_order() -> None:
    """Mutate only what mutmut leaves alone: calls and raises as statements, conditions, orders.

    A condition of a comprehension or an operand of `and` and `or` is dropped, too.
    """

    def drop(node: cst.Expr | cst.Raise) -> Iterator[cst.Pass]:
        if isinstance(node, cst.Raise) or isinstance(node.value, cst.Call):
            yield cst.Pass()

    def negate(node: cst.If | cst.CompIf) -> Iterator[cst.CSTNode]:
        # mutmut changes the operator of the others.
        if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.NamedExpr):
            brackets = {"lpar": [cst.LeftParen()], "rpar": [cst.RightParen()]}
            test = node.test.with_changes(**brackets)
            yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))

    def reorder(node: cst.Call) -> Iterator[cst.BaseExpression]:
        other = {"max": "min", "min": "max", "any": "all", "all": "any"}
        match node.func:
            case cst.Name(value="reversed" | "sorted") if len(node.args) == 1:
                yield cst.Call(cst.Name("list"), node.args)
            case cst.Name(value=name) if name in other:
                yield node.with_changes(func=cst.Name(other[name]))

    def drop_filter(node: cst.CompFor) -> Iterator[cst.CompFor]:
        for number in range(len(node.ifs)):
            yield node.with_changes(ifs=[*node.ifs[:number], *node.ifs[number + 1 :]])

    def drop_operand(node: cst.BooleanOperation) -> Iterator[cst.BaseExpression]:
        for side in (node.left, node.right):
            if node.lpar and not side.lpar:
                side = side.with_changes(lpar=node.lpar, rpar=node.rpar)
            yield side

    file_mutation.mutation_operators = [
        *((kind, drop) for kind in (cst.Expr, cst.Raise)),
        (cst.CompFor, drop_filter),
        (cst.BooleanOperation, drop_operand),
        *((kind, negate) for kind in (cst.If, cst.CompIf)),
        (cst.Call, reorder),
    ]


def unit_tests_of(pattern: str) -> set[str]:
    """Return the unit test files that import a module, or anything from a package."""
    *packages, name = pattern.removesuffix("/*").removesuffix(".py").split("/")
    package = ".".join(packages)
    # Tests with the scripted stack run whole stackctl commands.
    imported = re.compile(
        rf"\b{package}(\.| import (.*\b)?){name}\b"
        + (r"|\bunit\.scripted\b" if package == "tools" else "")
    )
    files = Path("tests/unit").glob("test_*.py")
    return {
        str(path)
        for path in files
        if imported.search(path.read_text()) and not LEFT_OUT.search(path.name)
    }


def prepare(modules: list[str], tests: list[str]) -> None:
    """Generate the mutants of these modules in a copy of the tree; default: all their tests."""
    patterns = [
        pattern
        for pattern in config().only_mutate
        if not modules or any(fnmatch.fnmatch(module, pattern) for module in modules)
    ]
    if not patterns:
        raise SystemExit(f"{modules[0]} is not in pyproject.toml's tool.mutmut.only_mutate.")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
    sources = set(map(str, config().source_paths))
    config().also_copy = [Path(top) for top in {name.split("/")[0] for name in tracked} - sources]
    config().only_mutate = modules or patterns
    test_files = tests or sorted(set().union(*map(unit_tests_of, patterns)))
    config().pytest_add_cli_args_test_selection = test_files
    # Every mutant would load all plugins, but needs only pytest-django.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    config().pytest_add_cli_args += ["-p", "pytest_django.plugin"]
    # mutmut would reuse files of an earlier run, even those without mutants.
    shutil.rmtree("mutants", ignore_errors=True)
    Path("mutants").mkdir()
    with mutmut.CatchOutput():
        mutmut.copy_src_dir()
        mutmut.copy_also_copy_files()
        mutmut.create_mutants(2)


def mutants() -> Iterator[tuple[Path, str, str]]:
    """Yield the module, the name and the status of each mutant."""
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            yield path, name, status_by_exit_code[code]


def listed() -> list[str]:
    """Return the patterns of the mutants that are allowed to survive."""
    lines = LISTED.read_text().splitlines() if LISTED.exists() else []
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def report(names: set[str], allowed: list[str], *, diff: bool) -> None:
    """Print the surviving mutants and a summary for each module."""
    counts: dict[str, Counter[str]] = {}
    for path, name, status in mutants():
        if name not in names:
            continue
        kind = "survived" if status in ("survived", "no tests") else "killed"
        if kind == "survived" and any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed):
            kind = "listed"
        counts.setdefault(str(path), Counter())[kind] += 1
        if kind == "survived":
            print(get_diff_for_mutant(name, path=path) if diff else "", f"{status}: {name}")
    counts["all"] = sum(counts.values(), Counter())
    print(f"\n{'module':44} killed  listed  survived  share killed")
    for module, count in counts.items():
        share = count["killed"] / count.total()
        columns = f"{count['killed']:6}  {count['listed']:6}  {count['survived']:8}  {share:12.0%}"
        print(f"{module:44} {columns}")


def main() -> None:
    """Run the mutants and report."""
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("modules", nargs="*", help="paths of modules (default: all)")
    parser.add_argument("--sample", type=int, help="at most N mutants per module")
    parser.add_argument(
        "--tests",
        nargs="+",
        default=[],
        help="run only these test files (faster, but more mutants survive)",
    )
    parser.add_argument(
        "--flow",
        action="store_true",
        help="drop statements and conditions, and change orders instead; nothing is listed",
    )
    parser.add_argument("--diff", action="store_true", help="print the diffs of surviving mutants")
    options = parser.parse_args()
    mutate_decorated_functions()
    skip_equivalent_mutants()
    if options.flow:
        mutate_flow_and_order()
    prepare(options.modules, options.tests)
    by_module: dict[Path, list[str]] = {}
    for path, name, _ in mutants():
        by_module.setdefault(path, []).append(name)
    pick = random.Random(0)  # the same sample each time
    names = {
        name
        for group in by_module.values()
        for name in pick.sample(group, min(options.sample or len(group), len(group)))
    }
    mutmut.print_stats = lambda *_, **__: None
    mutmut._run(tuple(names), None)
    report(names, [] if options.flow else listed(), diff=options.diff)


if __name__ == "__main__":
    main()
