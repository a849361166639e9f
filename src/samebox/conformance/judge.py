"""judge: the verdict on a test, from the test's end, the capabilities that it asks for and the engine's claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.conformance.verdicts import Verdict
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LATE = frozenset({Capability.NETWORK_APART})
"""What this host may lack although its probe does not say so, as only a running sandbox can tell: `Engine.exposure`."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The capabilities that an engine claims, and those of them that this host lacks."""

    engine: str
    claimed: frozenset[Capability]
    missing: Mapping[Capability, str]
    """The claimed capabilities that this host lacks, each with the reason."""

    def unclaimed(self, required: Sequence[Capability]) -> list[Capability]:
        """Return the required capabilities that the engine does not claim."""
        return [capability for capability in required if capability not in self.claimed]

    def host_missing(self, required: Sequence[Capability]) -> str:
        """Return why a test can't be run on this host, or "".

        A test that asks for an unclaimed capability is run all the same, as the engine's refusal has to be seen.
        """
        if self.unclaimed(required):
            return ""
        return "; ".join(
            f"{capability}: {self.missing[capability]}" for capability in required if capability in self.missing
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason."""

    verdict: Verdict
    reason: str = ""


def judge(required: Sequence[Capability], claims: Claims, error: BaseException | None) -> Judgement:
    """Give the verdict on a test that was run.

    Args:
        required: The capabilities that the test asks for.
        claims: The engine's claims.
        error: The error that the test or one of its fixtures raised; None if the test passed.
    """
    unclaimed = claims.unclaimed(required)
    if unclaimed:
        return _judge_unclaimed(required, f"{claims.engine} does not claim {', '.join(unclaimed)}", error)
    if error is None:
        return Judgement(Verdict.PASS)
    if isinstance(error, UnsupportedError) and error.capability in LATE:
        return Judgement(Verdict.HOST_MISSING, f"{error.capability}: {error.reason}")
    if isinstance(error, UnsupportedError):
        return Judgement(Verdict.FAIL, f"over-claim: {_line(error)}")
    claimed = f"over-claim of {', '.join(required)}: " if required else ""
    return Judgement(Verdict.FAIL, claimed + _line(error))


def _judge_unclaimed(required: Sequence[Capability], claims: str, error: BaseException | None) -> Judgement:
    """Give the verdict on a test that asks for a capability that the engine does not claim."""
    if error is None:
        return Judgement(Verdict.FAIL, f"under-claim: {claims}, and has it: the test passed")
    if not isinstance(error, UnsupportedError):
        return Judgement(Verdict.FAIL, f"{claims}, and failed without UnsupportedError: {_line(error)}")
    if error.capability not in required:
        return Judgement(Verdict.FAIL, f"{claims}, and refused another thing: {_line(error)}")
    return Judgement(Verdict.UNSUPPORTED, f"{error.capability}: {error.reason}")


def judge_known(judgement: Judgement, issue: str) -> Judgement:
    """Give the verdict on a test that is listed as a known failure, from the verdict that it would have otherwise."""
    if judgement.verdict is Verdict.FAIL:
        return Judgement(Verdict.KNOWN, f"{issue}: {judgement.reason}")
    if judgement.verdict is Verdict.HOST_MISSING:
        return judgement
    return Judgement(
        Verdict.FAIL, f"listed as a known failure ({issue}), and is {judgement.verdict}: take it off the list"
    )


def _line(error: BaseException) -> str:
    """Return an error as one line of at most 300 characters; of an assertion, its message and pytest's first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (
        ": ".join(lines[:2]) if isinstance(error, AssertionError) else f"{type(error).__name__}: {' '.join(lines[:1])}"
    )
    return text if len(text) <= 300 else text[:297] + "..."
