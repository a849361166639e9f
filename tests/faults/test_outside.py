"""A sandbox that is removed, killed, stopped, restarted or paused from outside, in a use and between two."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from outsider import CannotError, Outsider
from samebox import ConnectionLostError, ExecTimeoutError, Sandbox, SandboxError, SandboxGoneError, SandboxTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fault_bed import Service, Table
    from footprint import Footprint

pytestmark = pytest.mark.timeout(120)

TIMEOUT = 3.0
"""The timeout of what has one, in seconds."""
LATE = 5.0
"""How much later than that a call may end."""
TOLD: dict[str, tuple[type[SandboxError], ...]] = {
    "removed": (SandboxGoneError,),
    "killed": (SandboxGoneError,),
    "stopped": (SandboxGoneError,),
    # Whoever is asked may meet the moment at which it does not run.
    "restarted": (ConnectionLostError, SandboxGoneError),
    "paused": (ExecTimeoutError, SandboxTimeoutError, ConnectionLostError),
}
"""The errors of what is under way."""
PROMISED = {
    "removed": "SandboxGoneError, now and later",
    "killed": "SandboxGoneError, now and later",
    "stopped": "SandboxGoneError, now and later",
    "restarted": "an error of what was under way; the next call works",
    "paused": "the timeout is kept; the next call works once it goes on",
}


def _command(box: Sandbox) -> Any:
    return box.exec(["sleep", "60"], timeout=TIMEOUT)


def _process(box: Sandbox) -> Any:
    with box.spawn(["sh", "-c", "while :; do echo; sleep 0.1; done"], timeout=TIMEOUT) as process:
        while process.stdout.read(100):
            pass
        return process.wait()


def _write(box: Sandbox) -> Any:
    ends = time.monotonic() + 2 * TIMEOUT
    while time.monotonic() < ends:
        box.write_bytes("file", bytes(1 << 20), timeout=TIMEOUT)
    return None


def _next(box: Sandbox) -> Any:
    time.sleep(1.5)
    return box.exec(["sleep", "0.1"], timeout=TIMEOUT)


USES: dict[str, Callable[[Sandbox], Any]] = {
    "a command": _command,
    "a process's output": _process,
    "files": _write,
    "the next command": _next,
}


def _outcome(use: Callable[[Sandbox], Any], box: Sandbox) -> tuple[BaseException | None, float]:
    try:
        use(box)
    except (SandboxError, TimeoutError) as error:
        return error, time.monotonic()
    return None, time.monotonic()


@pytest.mark.parametrize("fault", TOLD)
@pytest.mark.parametrize("use", USES)
def test_from_outside(engine: Service, fault: str, use: str, table: Table, footprint: Footprint) -> None:
    """What is under way ends as documented and in time, and so does what comes later; nothing is left."""
    row = f"sandbox {fault} from outside: {use}"
    with Sandbox(**engine.settings()) as box, ThreadPoolExecutor(1) as pool:
        box.write_text("before", "kept")
        outsider = Outsider(engine, box)
        working = pool.submit(_outcome, USES[use], box)
        time.sleep(0.5)
        began = time.monotonic()
        try:
            getattr(outsider, fault)()
        except CannotError as refusal:
            working.result(60)
            table.add(row, PROMISED[fault], engine.name, f"the engine can't: {str(refusal).splitlines()[-1]}")
            return
        try:
            error, ended = working.result(60)
        finally:
            if fault == "paused":
                outsider.unpaused()
        # What comes later begins after the fault.
        assert ended - began < TIMEOUT + LATE + (1.5 if use == "the next command" else 0.5), (error, ended - began)
        settled = fault == "restarted" and use == "the next command"
        assert isinstance(error, TOLD[fault]) or (error is None and settled), repr(error)
        if TOLD[fault] == (SandboxGoneError,):
            _check_gone(box)
        else:
            assert box.exec(["echo", "on"], timeout=20).text == "on\n"
        if fault == "paused":
            assert box.read_text("before") == "kept"
    table.add(row, PROMISED[fault], engine.name, type(error).__name__ if error else "a result")


def _check_gone(box: Sandbox) -> None:
    for call in (lambda: box.exec(["true"], timeout=TIMEOUT), lambda: box.read_text("before")):
        began = time.monotonic()
        with pytest.raises(SandboxGoneError):
            call()
        assert time.monotonic() - began < LATE
