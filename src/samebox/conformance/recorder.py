"""Recorder: the pytest plugin of the child process of `samebox conformance`, which sends the parent the results.

The plugin is loaded by name, in the child process only. Each record is a JSON object on a line of the pipe: `total`
with the number of tests, `result` for each verdict, and last `run` with the facts of `Run` beside its results.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from samebox.conformance.report.summary import conforms
from samebox.conformance.session import RUN
from samebox.conformance.verdicts import Verdict

if TYPE_CHECKING:
    from samebox.conformance.verdicts import Run

_SECTIONS = ("Captured stdout", "Captured stderr", "Captured log")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the pipe."""
    parser.getgroup("samebox").addoption("--samebox-record-fd", type=int, help="where to write records: for the parent")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the recorder, but not in the workers of pytest-xdist, whose reports arrive in their parent process."""
    number = config.getoption("samebox_record_fd")
    if number is not None and not hasattr(config, "workerinput"):
        # A sandbox that outlives the run must not hold the pipe open.
        os.set_inheritable(number, False)  # noqa: FBT003 - the function takes no keyword
        config.pluginmanager.register(Recorder(config, number))


class Recorder:
    """Writes records as the tests end."""

    def __init__(self, config: pytest.Config, number: int) -> None:
        self._config = config
        self._pipe = os.fdopen(number, "w", encoding="utf-8")
        self._counted = False

    def _write(self, kind: str, **values: Any) -> None:
        json.dump({"kind": kind, **values}, self._pipe)  # as ASCII, so that a lone surrogate gets through
        self._pipe.write("\n")
        self._pipe.flush()

    def _total(self, count: int) -> None:
        if not self._counted:
            self._counted = True
            self._write("total", count=count)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Write the number of tests."""
        self._total(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Write the number of tests where the workers of pytest-xdist collect."""
        self._total(len(ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a verdict; with a FAIL or KNOWN, pytest's account and the output that the test has printed."""
        found = getattr(report, "samebox", None)
        if found is None:
            return
        log = ""
        if Verdict(found["verdict"]) in {Verdict.FAIL, Verdict.KNOWN}:
            printed = [f"--- {name} ---\n{text}" for name, text in report.sections if name.startswith(_SECTIONS)]
            log = "\n".join([report.longreprtext, *printed])
        self._write("result", result=found | {"log": log})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Write the facts about the run as a whole, after the session's own hook of the same name has found them."""
        run = self._config.stash.get(RUN, None)
        if run is not None:
            self._write("run", run=run_record(run))

    def pytest_unconfigure(self) -> None:
        """Close the pipe."""
        self._pipe.close()


def run_record(run: Run) -> dict[str, Any]:
    """Return a run without its results as plain values."""
    return {
        "image": run.image,
        "profile": run.profile,
        "claimed": sorted(run.claimed),
        "info": asdict(run.info) if run.info is not None else None,
        "unavailable": run.unavailable,
        "partial": run.partial,
        "problems": run.problems,
        "conforms": conforms(run),
    }
