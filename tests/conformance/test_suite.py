"""The contract tests themselves: what each must say, and that the suite as a whole leaves nothing out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from engine_pages import HOST_SIDE
from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.conformance.profiles import PROFILES
from samebox.conformance.suite import DIRECTORY, short_id, suite_tests

if TYPE_CHECKING:
    from samebox.conformance.suite import SuiteTest

TESTS = suite_tests()


@pytest.mark.parametrize("test", TESTS.values(), ids=list(TESTS))
def test_docstring(test: SuiteTest) -> None:
    """It begins with a sentence that is the rule, then says why it is there and what to check if it fails."""
    sentence, _, rest = test.docstring.partition("\n")

    assert re.fullmatch(r"[A-Z`/].{20,115}\.", sentence), sentence
    assert re.search(r"^Why: .{15,}", rest, re.MULTILINE), test.docstring
    assert re.search(r"^Check: .{8,}", rest, re.MULTILINE), test.docstring
    assert rest.index("Why: ") < rest.index("Check: ")
    # In a report each stands alone.
    assert not re.search(r"(Why|Check): as (for|above)", rest), rest


def test_ids_are_stable_and_short() -> None:
    """They are made of module and function, fit in a line, and are unique."""
    assert short_id("test_exec", "test_timeout_kills[a-b]") == "exec/timeout-kills[a-b]"
    assert all(re.fullmatch(r"[a-z-]+/[a-z0-9-]{3,64}", name) for name in TESTS), list(TESTS)
    assert "timeouts/timeout-kills-setsid-child" in TESTS
    written = [name for path in DIRECTORY.glob("test_*.py") for name in re.findall(r"\ndef test_", path.read_text())]
    assert len(written) == len(TESTS)


def test_every_capability_has_a_test() -> None:
    """And no test asks for one that does not exist."""
    asked = {name for test in TESTS.values() for name in test.capabilities}

    assert asked == {capability.name for capability in Capability}


def test_there_are_enough() -> None:
    """Two hundred are asked for; parameters are not counted."""
    assert len(TESTS) >= 200


def test_profiles_are_made_of_capabilities() -> None:
    """From the least to the most."""
    assert PROFILES["core"] == frozenset()
    assert all(PROFILES["core"] <= profile <= PROFILES["full"] for profile in PROFILES.values())
    assert PROFILES["full"] == frozenset(Capability)


def test_no_test_skips_or_looks_at_the_engine() -> None:
    """Capabilities decide, never an engine's name, and nothing is skipped."""
    names = r"docker|podman|bubblewrap|bwrap"
    for path in DIRECTORY.glob("test_*.py"):
        code = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"pytest\.(skip|xfail|importorskip)|mark\.(skip|skipif|xfail)", code), path.name
        assert not re.search(rf"==\s*[\"']({names})|[\"']({names})[\"']\s*(==|in\b)", code), path.name


def test_every_setting_is_verified() -> None:
    """Each field of the config by a test at least, but for those that say nothing of a sandbox."""
    verified = {field for test in TESTS.values() for field in test.fields}

    assert verified.isdisjoint(HOST_SIDE)
    assert verified | set(HOST_SIDE) == set(SandboxConfig.model_fields)
