"""Verdict, TestResult and Run: what a run of the suite found, in one structure for whatever reports it."""

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
    """What one test says of an engine."""

    PASS = "PASS"  # noqa: S105 - no password
    """It keeps the promise."""
    FAIL = "FAIL"
    """It does not, or claims another thing than it does."""
    UNSUPPORTED = "UNSUPPORTED"
    """It does not claim the behaviour, and says so in the right way: verified."""
    KNOWN = "KNOWN"
    """It fails, and an issue is open about that."""
    HOST_MISSING = "HOST-MISSING"
    """It claims the behaviour, and this host lacks what it takes; not run."""
    ERROR = "ERROR"
    """It could not be asked."""

    @property
    def bad(self) -> bool:
        """Whether it fails the run."""
        return self in {Verdict.FAIL, Verdict.ERROR}


@dataclass(frozen=True, slots=True)
class TestResult:
    """What became of one test."""

    __test__ = False  # no test, for all that pytest thinks of its name

    id: str
    """Stable and short, as "exec/timeout-kills-setsid-child"."""
    verdict: Verdict
    reason: str = ""
    """Why it is not PASS, in a line."""
    capabilities: tuple[str, ...] = ()
    """What it asks of an engine."""
    sentence: str = ""
    """What has to hold: the first line of its docstring."""
    duration: float = 0.0
    """In seconds, with its fixtures."""
    log: str = ""
    """pytest's account of a failure."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"verdict": self.verdict.value, "capabilities": list(self.capabilities)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TestResult:
        """Return what `to_dict` gave."""
        return cls(
            **{
                **values,
                "verdict": Verdict(values["verdict"]),
                "capabilities": tuple(values["capabilities"]),
            }
        )


@dataclass
class Run:
    """What a run of the suite on one engine found."""

    engine: str
    image: str | None = None
    profile: str | None = None
    claimed: frozenset[Capability] = frozenset()
    """What the engine claims."""
    info: EngineInfo | None = None
    """What it is on this host; None if it could not be reached."""
    unavailable: str = ""
    """Why it could not be reached, or ""."""
    results: dict[str, TestResult] = field(default_factory=dict)
    """By id."""
    partial: list[str] = field(default_factory=list)
    """Why this is not the whole suite; empty if it is."""
    problems: list[str] = field(default_factory=list)
    """What is wrong with the run itself, which then fails: a known failure that matches nothing and the like."""

    def add(self, result: TestResult) -> None:
        """Note a test's result; a later one replaces an earlier one, as when its teardown fails."""
        self.results[result.id] = result

    @property
    def counts(self) -> Counter[Verdict]:
        """How often each verdict was given."""
        return Counter(result.verdict for result in self.results.values())

    @property
    def failed(self) -> bool:
        """Whether the engine does not keep the contract, or the run says nothing of it."""
        return bool(self.problems) or any(result.verdict.bad for result in self.results.values())
