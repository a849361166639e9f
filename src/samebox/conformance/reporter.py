"""Reporter: writes the same report of a pytest run as `samebox conformance` does."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from samebox.conformance.cleaning import Cleaner
from samebox.conformance.contract.harness import HARNESS
from samebox.conformance.report.report import make_document, write_report
from samebox.conformance.report.summary import conforms
from samebox.conformance.runner import EngineRun, Subject
from samebox.conformance.session import RUN

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from samebox.conformance.verdicts import Run


class Reporter:
    """Writes result.json, junit.xml and report.html at the end of a run.

    Args:
        config: pytest's config, with a session of the suite.
        directory: The report's directory, made if need be.
    """

    def __init__(self, config: pytest.Config, directory: Path) -> None:
        self._config = config
        self._directory = directory
        self._begun = datetime.now(UTC)
        self._clock = time.monotonic()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the report, once all results are known, and say where."""
        run: Run = self._config.stash[RUN]
        options = {name: str(text) for name, text in self._config.stash[HARNESS].options.items()}
        subject = Subject(run.engine, run.engine, options, run.image)
        found = EngineRun(subject, run, conforms(run), time.monotonic() - self._clock)
        paths = write_report(self._directory, make_document([found], self._begun, Cleaner()))
        terminalreporter.write_line(f"written: {', '.join(map(str, paths))}")
