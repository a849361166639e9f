"""ConformanceSession: the pytest hooks of a run of the suite on one engine."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import HARNESS, Harness
from samebox.conformance.items import STATE, ItemState, in_suite, is_ours, mark_report, required, test_id
from samebox.conformance.judge import Claims, Judgement, judge, judge_known
from samebox.conformance.known import parse_known
from samebox.conformance.profiles import PROFILES
from samebox.conformance.report.summary import write_summary
from samebox.conformance.suite import DIRECTORY, suite_tests
from samebox.conformance.verdicts import Run, TestResult, Verdict
from samebox.errors import ConfigError, EngineError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Generator

HANG = 60
"""The time after which a test counts as hanging, in seconds."""

RUN = pytest.StashKey[Run]()
"""The key by which a report finds the results of the run, once the run is over."""

_STATUS = {
    Verdict.PASS: ("passed", "."),
    Verdict.FAIL: ("failed", "F"),
    Verdict.UNSUPPORTED: ("unsupported", "u"),
    Verdict.KNOWN: ("known", "k"),
    Verdict.HOST_MISSING: ("host-missing", "h"),
    Verdict.ERROR: ("error", "E"),
}


class HangError(Exception):
    """A test took longer than any test may."""


class ConformanceSession:
    """Judges each test of the suite and collects the verdicts; other tests of the same run are left alone.

    Args:
        config: pytest's config.

    Raises:
        pytest.UsageError: An option is wrong.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._worker = hasattr(config, "workerinput")
        try:
            harness = Harness(
                config.getoption("samebox_engine"),
                _options(config.getoption("samebox_engine_option")),
                config.getoption("samebox_image"),
            )
            self._known = parse_known(config.getoption("samebox_known"))
        except (ConfigError, ValueError) as error:
            raise pytest.UsageError(str(error)) from None
        profile = config.getoption("samebox_engine_profile")
        if profile is not None and profile not in PROFILES:
            msg = f"--engine-profile: there is no profile {profile!r}; there are: {', '.join(PROFILES)}"
            raise pytest.UsageError(msg)
        self.run = Run(harness.engine, harness.image, profile, harness.claimed)
        self._harness = harness
        self._claims = Claims(harness.engine, harness.claimed, {})
        self._collected: set[str] = set()
        self._deselected: set[str] = set()
        self._profile_excludes: set[str] = set()
        config.stash[HARNESS] = harness
        config.stash[RUN] = self.run

    # --- before the tests -------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Reach the engine, once."""
        try:
            self.run.info = self._harness.info
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
        except SandboxError as error:
            kind = "" if isinstance(error, EngineError) else f"{type(error).__name__}: "
            self.run.unavailable = f"{kind}{error}"
            return
        self._claims = Claims(self.run.engine, self.run.claimed, self.run.info.missing)
        unknown = [name for name in (*self.run.claimed, *self.run.info.missing) if name not in frozenset(Capability)]
        if unknown:
            self._problem(f"{self.run.engine} claims capabilities that do not exist: {', '.join(map(str, unknown))}")
        for name in sorted(PROFILES.get(self.run.profile or "", frozenset()) - self.run.claimed):
            self._problem(f"profile {self.run.profile} asks for {name}, which {self.run.engine} does not claim")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """End the run here if there is no engine to test."""
        if self.run.unavailable:
            allowed = self._config.getoption("samebox_allow_unavailable")
            pytest.exit(
                f"engine {self.run.engine!r} cannot be tested: {self.run.unavailable}",
                returncode=pytest.ExitCode.OK if allowed else pytest.ExitCode.TESTS_FAILED,
            )

    def pytest_report_header(self) -> str:
        """Return the line that says which engine is tested."""
        info = self.run.info
        if info is None:
            return f"samebox conformance: {self.run.engine}"
        where = f" at {info.address}" if info.address else ""
        image = f", image {self.run.image}" if self.run.image else ""
        return f"samebox conformance: {info.name} {info.version}{where}, isolation {info.isolation}{image}"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that skips itself, as it would hide its tests."""
        if report.skipped and in_suite(report.fspath, self._config):
            self._problem(f"{report.nodeid} skips itself: a test of the suite is never skipped")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note the tests that were collected, before any deselection, and leave out those beyond the profile."""
        ours = [item for item in items if is_ours(item)]
        self._collected = {test_id(item) for item in ours}
        for item in ours:
            required(item)  # an unknown capability is an error of the suite, not of one test's run
        if self.run.profile is not None:
            profile = PROFILES[self.run.profile]
            left_out = [item for item in ours if not set(required(item)) <= profile]
            self._profile_excludes = {test_id(item) for item in left_out}
            items[:] = [item for item in items if item not in left_out]

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Note the tests that -k, -m and other options leave out."""
        self._deselected |= {test_id(item) for item in items if is_ours(item)}

    # --- each test --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a test for which this host lacks the means."""
        if not is_ours(item):
            return
        state = item.stash[STATE] = ItemState()
        state.host_missing = self._claims.host_missing(required(item))
        if state.host_missing:
            pytest.skip(state.host_missing)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Keep a test that hangs from hanging the run."""
        # Another plugin that uses the alarm signal (pytest-timeout) ends hanging tests itself.
        free = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGALRM) in {
            signal.SIG_DFL,
            None,
        }
        if not free or not is_ours(item):
            return (yield)

        def hung(_number: int, _frame: object) -> None:
            msg = f"hung: the test was not over after {HANG} s"
            raise HangError(msg)

        signal.signal(signal.SIGALRM, hung)
        signal.alarm(HANG)
        try:
            return (yield)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Judge the test by the phase that decides, and put the verdict in the report."""
        report = yield
        if not is_ours(item):
            return report
        state = item.stash.setdefault(STATE, ItemState())
        state.duration += call.duration
        error = call.excinfo.value if call.excinfo is not None else None
        decides = call.when == "call" or error is not None
        if decides and not isinstance(error, KeyboardInterrupt | pytest.exit.Exception):
            judgement = self._judge(item, report, error, state)
            mark_report(report, item, judgement, state.duration)
        return report

    def _judge(
        self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None, state: ItemState
    ) -> Judgement:
        if state.host_missing:
            return Judgement(Verdict.HOST_MISSING, state.host_missing)
        if isinstance(error, pytest.skip.Exception):
            judgement = Judgement(Verdict.FAIL, f"a test of the suite is never skipped: {error}")
        elif hasattr(report, "wasxfail") or isinstance(error, pytest.xfail.Exception):
            judgement = Judgement(Verdict.FAIL, "a test of the suite is never xfailed: name an issue with --known")
        elif report.when == "teardown":
            judgement = Judgement(Verdict.FAIL, f"at its end: {type(error).__name__}: {error}")
        else:
            judgement = judge(required(item), self._claims, error)
        issue = self._known.get(test_id(item))
        return judgement if issue is None else judge_known(judgement, issue)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
        """Show verdicts in place of pytest's own words."""
        found = getattr(report, "samebox", None)
        if found is None:
            return None
        verdict = Verdict(found["verdict"])
        return *_STATUS[verdict], verdict.value

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the verdict, of this process or of an xdist worker."""
        found = getattr(report, "samebox", None)
        if found is not None:
            log = report.longreprtext if Verdict(found["verdict"]) in {Verdict.FAIL, Verdict.KNOWN} else ""
            self.run.add(TestResult.from_dict(found | {"log": log}))

    # --- after the tests --------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the notes of an xdist worker that has ended."""
        output = getattr(node, "workeroutput", {}).get("samebox")
        if output is not None:
            self._collected |= set(output["collected"])
            self._deselected |= set(output["deselected"])
            self._profile_excludes |= set(output["profile_excludes"])
            for problem in output["problems"]:
                self._problem(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Check the run as a whole, and fail the run if it has problems."""
        if self._worker:
            self._config.workeroutput["samebox"] = {  # type: ignore[attr-defined]
                "collected": sorted(self._collected),
                "deselected": sorted(self._deselected),
                "profile_excludes": sorted(self._profile_excludes),
                "problems": self.run.problems,
            }
            return
        if not self.run.unavailable and not self._config.getoption("collectonly"):
            self._check_whole()
            if self.run.failed and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _check_whole(self) -> None:
        """Note why the run is partial, known failures that match no test, and capabilities that no test asks for."""
        functions = {found.partition("[")[0] for found in self._collected}
        whole = suite_tests(DIRECTORY)
        not_collected = [found for found in whole if found not in functions]
        if not_collected:
            self.run.partial.append(f"{len(not_collected)} tests were not collected")
        if self._deselected:
            self.run.partial.append(f"{len(self._deselected)} tests were deselected")
        missing = self._collected - self._deselected - self._profile_excludes - self.run.results.keys()
        if missing:
            self.run.partial.append(f"{len(missing)} tests were not run")
        for name in self._known:
            if name not in self._collected and name not in not_collected:
                self._problem(f"--known names {name}, and there is no such test")
        if not not_collected:
            asked = {name for test in whole.values() for name in test.capabilities}
            for capability in Capability:
                if capability.name not in asked:
                    self._problem(f"no test asks for {capability}")

    def _problem(self, text: str) -> None:
        if text not in self.run.problems:
            self.run.problems.append(text)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the summary of the verdicts."""
        write_summary(terminalreporter, self.run)


def _options(values: list[str]) -> dict[str, str]:
    """Return the engine's options from the values of `--engine-option`."""
    options = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key or not equals:
            msg = f"--engine-option {value!r}: an option is KEY=VALUE, as in url=unix:///run/podman/podman.sock"
            raise ValueError(msg)
        options[key] = text
    return options
