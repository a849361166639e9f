"""write_summary: the summary of a run on one screen of a terminal, and the profiles that the run shows to be kept."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.conformance.profiles import PROFILES, badge
from samebox.conformance.verdicts import Run, Verdict

if TYPE_CHECKING:
    import pytest

_MOST = 12
"""The most lines for one verdict."""


def conforms(run: Run) -> list[str]:
    """Return the profiles that a run shows to be kept; a partial run shows none."""
    if run.partial or run.info is None or not run.results or run.problems:
        return []
    kept = []
    within = PROFILES[run.profile] if run.profile is not None else frozenset(Capability)
    for name, capabilities in PROFILES.items():
        if not capabilities <= within:  # the run left out tests of this profile
            continue
        asked = [result for result in run.results.values() if set(result.capabilities) <= capabilities]
        has = capabilities <= run.claimed and not capabilities & run.info.missing.keys()
        if has and all(result.verdict is Verdict.PASS for result in asked):
            kept.append(name)
    return kept


def write_summary(terminal: pytest.TerminalReporter, run: Run) -> None:
    """Write the counts of verdicts, and the reasons of all verdicts that are not PASS."""
    title = f"samebox conformance: {run.engine}"
    terminal.section(title)
    if run.unavailable:
        terminal.write_line(f"ERROR  cannot be tested: {run.unavailable}", red=True)
        return
    counts = run.counts
    line = "  ".join(f"{verdict.value} {counts[verdict]}" for verdict in Verdict if counts[verdict])
    terminal.write_line(line or "no test was run", green=not run.failed, red=run.failed, bold=True)
    if words := badge(conforms(run)):
        terminal.write_line(words)
    for reason in run.partial:
        terminal.write_line(f"PARTIAL: {reason}; this says nothing of the whole contract", yellow=True)
    for problem in run.problems:
        terminal.write_line(f"FAIL: {problem}", red=True)
    for verdict in (Verdict.FAIL, Verdict.KNOWN):
        found = [result for result in run.results.values() if result.verdict is verdict]
        _lines(terminal, verdict, [f"{result.id}: {result.reason}" for result in found])
    for verdict in (Verdict.HOST_MISSING, Verdict.UNSUPPORTED):
        by_reason: dict[str, list[str]] = defaultdict(list)
        for result in run.results.values():
            if result.verdict is verdict:
                by_reason[result.reason.partition(" (asked for by")[0]].append(result.id)
        texts = [f"{reason} ({len(ids)} test{'s' if len(ids) > 1 else ''})" for reason, ids in by_reason.items()]
        _lines(terminal, verdict, texts)


def _lines(terminal: pytest.TerminalReporter, verdict: Verdict, texts: list[str]) -> None:
    width = max(110, terminal._tw.fullwidth)  # noqa: SLF001 - pytest has no public name for the width
    for text in texts[:_MOST]:
        line = f"{verdict.value:<12} {text}"
        terminal.write_line(line if len(line) <= width else line[: width - 3] + "...")
    if len(texts) > _MOST:
        terminal.write_line(f"{verdict.value:<12} and {len(texts) - _MOST} more")
