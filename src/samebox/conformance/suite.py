"""The suite itself, read from its sources: which tests there are, whatever a run has collected of them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DIRECTORY = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """One test function of the suite."""

    id: str
    module: str
    docstring: str
    capabilities: tuple[str, ...]
    """Names of the Capability members in its `requires`, as "NETWORK_NONE"."""


def short_id(module: str, name: str) -> str:
    """Return the short id of a test: `test_exec` and `test_timeout_kills` give "exec/timeout-kills".

    Args:
        module: The module's name without its package.
        name: The function's name, with a parameter's in brackets.
    """
    function, bracket, parameters = name.partition("[")
    short = function.removeprefix("test_").replace("_", "-")
    return f"{module.removeprefix('test_').replace('_', '-')}/{short}{bracket}{parameters}"


@cache
def suite_tests(directory: Path = DIRECTORY) -> dict[str, SuiteTest]:
    """Return every test function of the suite by its id, parameters aside."""
    found = {}
    for path in sorted(directory.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                test = SuiteTest(
                    short_id(path.stem, node.name),
                    path.stem,
                    ast.get_docstring(node) or "",
                    tuple(name for decorator in node.decorator_list for name in _capabilities(decorator)),
                )
                found[test.id] = test
    return found


def _capabilities(decorator: ast.expr) -> list[str]:
    if not isinstance(decorator, ast.Call) or getattr(decorator.func, "id", "") != "requires":
        return []
    return [argument.attr for argument in decorator.args if isinstance(argument, ast.Attribute)]
