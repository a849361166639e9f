"""The judge: turns how a test ended, what it asks for and what the engine claims into a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.conformance.verdicts import Verdict
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from samebox.capabilities import Capability


@dataclass(frozen=True, slots=True)
class Claims:
    """What an engine claims, and what of it this host lacks."""

    engine: str
    claimed: frozenset[Capability]
    missing: Mapping[Capability, str]
    """Each with the reason."""

    def unclaimed(self, required: Sequence[Capability]) -> list[Capability]:
        """Return which of those the engine does not claim."""
        return [capability for capability in required if capability not in self.claimed]

    def host_missing(self, required: Sequence[Capability]) -> str:
        """Return why a test can't be run on this host, or "".

        One with something unclaimed is run all the same, as the refusal has to be seen.
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
        required: What it asks of an engine.
        claims: What the engine claims.
        error: What the test raised, in its fixtures or itself; None if it passed.
    """
    unclaimed = claims.unclaimed(required)
    if unclaimed:
        return _judge_unclaimed(required, f"{claims.engine} does not claim {', '.join(unclaimed)}", error)
    if error is None:
        return Judgement(Verdict.PASS)
    if isinstance(error, UnsupportedError):
        return Judgement(Verdict.FAIL, f"over-claim: {_line(error)}")
    claimed = f"over-claim of {', '.join(required)}: " if required else ""
    return Judgement(Verdict.FAIL, claimed + _line(error))


def _judge_unclaimed(required: Sequence[Capability], claims: str, error: BaseException | None) -> Judgement:
    if error is None:
        return Judgement(Verdict.FAIL, f"under-claim: {claims}, and has it: the test passed")
    if not isinstance(error, UnsupportedError):
        return Judgement(Verdict.FAIL, f"{claims}, and failed without UnsupportedError: {_line(error)}")
    if error.capability not in required:
        return Judgement(Verdict.FAIL, f"{claims}, and refused another thing: {_line(error)}")
    return Judgement(Verdict.UNSUPPORTED, f"{error.capability}: {error.reason}")


def judge_known(judgement: Judgement, issue: str) -> Judgement:
    """Give the verdict on a test that is listed as a known failure, from the one that it would have had."""
    if judgement.verdict is Verdict.FAIL:
        return Judgement(Verdict.KNOWN, f"{issue}: {judgement.reason}")
    if judgement.verdict is Verdict.HOST_MISSING:
        return judgement
    return Judgement(
        Verdict.FAIL, f"listed as a known failure ({issue}), and is {judgement.verdict}: take it off the list"
    )


def _line(error: BaseException) -> str:
    """Return an error as one line of at most 300 characters: an assertion's message and what pytest shows of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (
        ": ".join(lines[:2]) if isinstance(error, AssertionError) else f"{type(error).__name__}: {' '.join(lines[:1])}"
    )
    return text if len(text) <= 300 else text[:297] + "..."
