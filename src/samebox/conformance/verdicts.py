"""Verdict, TestResult and Run: the results of a run of the suite, in one structure for all reports."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samebox.capabilities import Capability
    from samebox.engine import EngineInfo


class Verdict(StrEnum):
    """The result of one test on an engine."""

    PASS = "PASS"  # noqa: S105 - no password
    """The engine keeps the promise."""
    FAIL = "FAIL"
    """The engine does not keep the promise, or its claim is wrong."""
    UNSUPPORTED = "UNSUPPORTED"
    """The engine does not claim the behaviour, and was seen to refuse it in the right way."""
    KNOWN = "KNOWN"
    """The test fails, and an issue is open about the failure."""
    HOST_MISSING = "HOST-MISSING"
    """The engine claims the behaviour, and this host lacks the means for it; the test was not run."""
    ERROR = "ERROR"
    """The engine could not be tested."""

    @property
    def bad(self) -> bool:
        """Whether the verdict fails the run."""
        return self in {Verdict.FAIL, Verdict.ERROR}


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of one test, with its verdict."""

    __test__ = False  # pytest would take the class for a test because of its name

    id: str
    """The test's stable and short id, as "exec/timeout-kills-setsid-child"."""
    verdict: Verdict
    reason: str = ""
    """Why the verdict is not PASS, in a line."""
    capabilities: tuple[str, ...] = ()
    """The capabilities that the test asks of an engine."""
    sentence: str = ""
    """The promise that the test checks: the first line of the test's docstring."""
    duration: float = 0.0
    """How long the test took with its fixtures, in seconds."""
    log: str = ""
    """pytest's account of a failure."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return asdict(self) | {"verdict": self.verdict.value, "capabilities": list(self.capabilities)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TestResult:
        """Return the result that `to_dict` made plain values of."""
        return cls(
            **{
                **values,
                "verdict": Verdict(values["verdict"]),
                "capabilities": tuple(values["capabilities"]),
            }
        )


@dataclass
class Run:
    """The results of a run of the suite on one engine."""

    engine: str
    image: str | None = None
    profile: str | None = None
    claimed: frozenset[Capability] = frozenset()
    """The capabilities that the engine claims."""
    info: EngineInfo | None = None
    """The facts about the engine on this host; None if the engine could not be reached."""
    unavailable: str = ""
    """Why the engine could not be reached, or ""."""
    results: dict[str, TestResult] = field(default_factory=dict)
    """The results by the tests' ids."""
    partial: list[str] = field(default_factory=list)
    """The reasons why the run is not of the whole suite; empty if the whole suite was run."""
    problems: list[str] = field(default_factory=list)
    """The problems of the run itself, which then fails, as a known failure that matches no test."""

    def add(self, result: TestResult) -> None:
        """Note a test's result; a later result replaces the test's earlier result, as when its teardown fails."""
        self.results[result.id] = result

    @property
    def counts(self) -> Counter[Verdict]:
        """How often each verdict was given."""
        return Counter(result.verdict for result in self.results.values())

    @property
    def failed(self) -> bool:
        """Whether the engine does not keep the contract, or problems of the run leave that open."""
        return bool(self.problems) or any(result.verdict.bad for result in self.results.values())
