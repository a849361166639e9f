"""The suite is tested: each deliberately broken engine has to fail it, by the tests that are named for that."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mutants import GROUPS, MUTANTS, STILL_WORKS
from mutants.run import BASES
from samebox.conformance.suite import suite_tests

# The first test waits for all of the mutants.
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("name", BASES)
def test_unbroken_engine_passes(name: str, found: dict[str, Any]) -> None:
    """What catches the mutants does not fail on the engine that they are made of."""
    seen = found[name]
    assert "missing" not in seen, f"{name} was not run: {seen['missing']}"
    bad = {test: seen["reasons"][test] for test, verdict in seen["verdicts"].items() if verdict == "FAIL"}
    assert not bad, bad
    assert (seen["exit"], bool(seen["verdicts"])) == (0, True), seen["output"]


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str, found: dict[str, Any]) -> None:
    """The suite fails on a mutant, and by every test that is named as catching it."""
    seen = found[name]
    assert "missing" not in seen, f"{name} was not run: {seen['missing']}"
    passed = [test for test in MUTANTS[name].caught_by if seen["verdicts"].get(test) != "FAIL"]
    assert not passed, f"{passed} did not catch it: {seen['verdicts']}\n{seen['output']}"
    assert seen["exit"] == pytest.ExitCode.TESTS_FAILED, seen["output"]
    assert seen["verdicts"].get(STILL_WORKS) == "PASS", f"it can do nothing at all: {seen['reasons']}"


def test_mutants_are_many_and_described() -> None:
    """There are enough, each says what is broken in a sentence and names tests that there are."""
    tests = suite_tests()
    assert len(MUTANTS) >= 40
    for mutant in MUTANTS.values():
        assert mutant.broken.endswith("."), mutant.name
        assert mutant.caught_by, mutant.name
        assert {test.partition("[")[0] for test in mutant.caught_by} <= tests.keys(), mutant.name
        assert mutant.group in {module.__name__ for module in GROUPS}, mutant.name


def test_page_is_up_to_date() -> None:
    """docs/mutants.md is what document.py writes."""
    spec = importlib.util.spec_from_file_location("document", Path(__file__).parent / "document.py")
    assert spec is not None
    assert spec.loader is not None
    document = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(document)
    assert document.PAGE.read_text("utf-8") == document.page(), "run python tests/mutants/document.py"
