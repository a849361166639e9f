"""suite_tests: all tests of the suite, read from their sources, whichever tests a run has collected."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DIRECTORY = Path(__file__).parent / "contract"


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """One test function of the suite."""

    id: str
    module: str
    docstring: str
    capabilities: tuple[str, ...]
    """The names of the Capability members in the test's `requires`, as "NETWORK_NONE"."""
    fields: tuple[str, ...]
    """The fields of SandboxConfig that the test shows to work, by its `verifies`."""


def short_id(module: str, name: str) -> str:
    """Return the short id of a test: `test_exec` and `test_timeout_kills` give "exec/timeout-kills".

    Args:
        module: The module's name without its package.
        name: The function's name, with the parameter's name in brackets.
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
                    tuple(item.attr for item in _marked(node, "requires") if isinstance(item, ast.Attribute)),
                    tuple(str(item.value) for item in _marked(node, "verifies") if isinstance(item, ast.Constant)),
                )
                found[test.id] = test
    return found


def _marked(node: ast.FunctionDef | ast.AsyncFunctionDef, marker: str) -> list[ast.expr]:
    """Return the arguments of a function's decorators that are named like the marker."""
    calls = [decorator for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
    return [argument for call in calls if getattr(call.func, "id", "") == marker for argument in call.args]
