"""The suite's tests as pytest's items: their ids, the capabilities that they ask for, and their reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.suite import DIRECTORY, short_id
from samebox.conformance.verdicts import TestResult, Verdict

if TYPE_CHECKING:
    from samebox.conformance.judge import Judgement


class ItemState:
    """The facts about one test while it runs."""

    def __init__(self) -> None:
        self.host_missing = ""
        self.duration = 0.0


STATE = pytest.StashKey[ItemState]()


def is_ours(item: pytest.Item) -> bool:
    """Tell whether a test belongs to the suite."""
    return item.path.parent == DIRECTORY


def in_suite(path: object, config: pytest.Config) -> bool:
    """Tell whether a path, as reports have it, belongs to the suite."""
    return (config.rootpath / str(path)).resolve().parent == DIRECTORY.resolve()


def test_id(item: pytest.Item) -> str:
    """Return the short id of a test, as `exec/argv-is-literal`."""
    return short_id(item.path.stem, item.name)


def required(item: pytest.Item) -> list[Capability]:
    """Return the capabilities that a test asks for, in the order of its decorator.

    Raises:
        pytest.UsageError: The test asks for something that is no capability.
    """
    required = []
    for mark in item.iter_markers("samebox_requires"):
        for name in mark.args:
            if not isinstance(name, Capability):
                msg = f"{test_id(item)} asks for the unknown capability {name!r}"
                raise pytest.UsageError(msg)
            required.append(name)
    return required


def mark_report(report: pytest.TestReport, item: pytest.Item, judgement: Judgement, duration: float) -> None:
    """Make pytest's report of a test say the judge's verdict.

    Args:
        report: The report of the phase that decides.
        item: The test.
        judgement: The judge's verdict and reason.
        duration: How long the test's phases have taken, in seconds.
    """
    sentence = (getattr(getattr(item, "function", None), "__doc__", None) or "").strip().partition("\n")[0]
    result = TestResult(
        test_id(item),
        judgement.verdict,
        judgement.reason,
        tuple(capability.value for capability in required(item)),
        sentence,
        round(duration, 4),
    )
    report.samebox = result.to_dict()  # type: ignore[attr-defined]  # extra attributes travel with the report, as plain values
    if hasattr(report, "wasxfail"):
        del report.wasxfail
    if judgement.verdict is Verdict.FAIL:
        if report.outcome != "failed":
            report.outcome, report.longrepr = "failed", judgement.reason
        else:
            report.sections.append(("verdict", judgement.reason))
    elif judgement.verdict is not Verdict.PASS:
        # For pytest's other reports, as JUnit's, the test is skipped; a setup that failed has no further phase to run.
        report.outcome = "skipped"
        if judgement.verdict is Verdict.KNOWN:
            report.wasxfail = judgement.reason
        else:
            report.longrepr = (str(item.path), item.location[1] or 0, f"{judgement.verdict}: {judgement.reason}")
