"""EngineRun and run_suite: a run of the suite on one engine, in a pytest process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability, Isolation
from samebox.conformance.verdicts import Run, TestResult, Verdict
from samebox.engine import EngineInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_INTERRUPT_WAIT = 30.0
_LAST_WORDS = 4000


@dataclass(frozen=True)
class Subject:
    """An engine to be tested, with its options; the label tells two subjects of the same engine apart."""

    label: str
    engine: str
    options: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None


@dataclass
class EngineRun:
    """The results of the suite on one subject."""

    subject: Subject
    run: Run
    conforms: list[str] = field(default_factory=list)
    """The profiles to which the engine conforms."""
    duration: float = 0.0
    """How long the run took, in seconds of real time."""

    @property
    def failed(self) -> bool:
        """Whether a verdict is FAIL or ERROR, or the run itself went wrong."""
        return bool(self.run.unavailable) or self.run.failed


@dataclass(frozen=True)
class SuiteOptions:
    """The options of the suite that are the same for every engine."""

    profile: str | None = None
    select: str | None = None
    """The value of pytest's `-k`, which selects tests."""
    known: tuple[str, ...] = ()
    jobs: int = 1


def run_suite(subject: Subject, options: SuiteOptions, progress: Callable[[int, EngineRun], None]) -> EngineRun:
    """Run the suite on one subject.

    Args:
        subject: The engine to test.
        options: The options of the suite.
        progress: Called after each test with the number of all tests and the results so far.

    Returns:
        The results; a child process that fails is a problem of the run, not an exception.
    """
    found = EngineRun(subject, Run(subject.engine, subject.image, options.profile))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="samebox-conformance-") as directory:
        # The suite gets a configuration and a directory of its own, as those of the caller's project are not for the
        # suite.
        (Path(directory) / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        output = Path(directory) / "output"
        reader, writer = os.pipe()
        with output.open("wb") as sink, os.fdopen(reader, "rb") as pipe:
            environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
            try:
                child = subprocess.Popen(
                    [*_command(subject, options), "--rootdir", directory, f"--samebox-record-fd={writer}"],
                    cwd=directory,
                    env=environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    pass_fds=(writer,),
                )
            finally:
                os.close(writer)
            finished = _follow(child, pipe.fileno(), found, progress)
        if not finished:
            words = output.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS:]
            found.run.problems.append(
                f"the suite did not run to its end (pytest's exit code {child.returncode}): {words}"
            )
    found.duration = time.monotonic() - begun
    return found


def has_pytest() -> bool:
    """Return whether pytest is installed; the core does without pytest."""
    return importlib.util.find_spec("pytest") is not None


def _command(subject: Subject, options: SuiteOptions) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-c", "pytest.ini", "-p", "no:cacheprovider", "--strict-markers"]
    command += ["-p", "samebox.conformance.plugin", "-p", "samebox.conformance.recorder"]
    command += ["--pyargs", "samebox.conformance", "--engine", subject.engine]
    for name, value in subject.options.items():
        command += ["--engine-option", f"{name}={value}"]
    for flag, text in (("--image", subject.image), ("--engine-profile", options.profile), ("-k", options.select)):
        if text is not None:
            command += [flag, text]
    for text in options.known:
        command += ["--known", text]
    return command + (["-p", "xdist", "-n", str(options.jobs)] if options.jobs > 1 else [])


def _follow(
    child: subprocess.Popen[bytes], pipe: int, found: EngineRun, progress: Callable[[int, EngineRun], None]
) -> bool:
    """Take the child's records until the child ends; return whether the last record came."""
    total, finished = 0, False
    try:
        for record in _records(child, pipe):
            if record["kind"] == "total":
                total = record["count"]
            elif record["kind"] == "result":
                found.run.add(TestResult.from_dict(record["result"]))
            else:
                _take_run(found, record["run"])
                finished = True
            progress(total, found)
        child.wait()
    except KeyboardInterrupt:
        # The terminal has interrupted the child as well, which now removes its sandboxes.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_INTERRUPT_WAIT)
        raise
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return finished


def _records(child: subprocess.Popen[bytes], pipe: int) -> Iterator[dict[str, Any]]:
    waiting = b""
    while True:
        readable, _, _ = select.select([pipe], [], [], 0.5)
        if not readable:
            if child.poll() is not None:  # the process that still holds the pipe is not the suite
                return
            continue
        data = os.read(pipe, 1 << 16)
        if not data:
            return
        *lines, waiting = (waiting + data).split(b"\n")
        yield from map(json.loads, lines)


def _take_run(found: EngineRun, record: dict[str, Any]) -> None:
    """Take the facts about the run as a whole from the child's last record."""
    run = found.run
    run.image, run.profile, run.unavailable = record["image"], record["profile"], record["unavailable"]
    run.claimed = frozenset(Capability(name) for name in record["claimed"] if name in frozenset(Capability))
    run.partial, run.problems = record["partial"], record["problems"]
    found.conforms = record["conforms"]
    if record["info"] is not None:
        run.info = info_from(record["info"])


def info_from(values: Mapping[str, Any]) -> EngineInfo:
    """Return an EngineInfo from plain values."""
    missing = {Capability(name): why for name, why in values["missing"].items() if name in frozenset(Capability)}
    return EngineInfo(**{**values, "isolation": Isolation(values["isolation"]), "missing": missing})


def verdict_of(found: EngineRun, test: str) -> Verdict | None:
    """Return the verdict on a test; ERROR where the engine could not be reached, None where it was not run."""
    result = found.run.results.get(test)
    if result is not None:
        return result.verdict
    return Verdict.ERROR if found.run.unavailable else None
