"""Commands run once: a command that was ended, or whose end was not seen, is not run again behind its caller's back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.conformance.contract.test_gone import AGENTS
from samebox.errors import ConnectionLostError, SandboxGoneError
from samebox.guest.results import ExecTimeoutError

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.sandbox.sandbox import Sandbox


def test_command_runs_once(box: Sandbox, here: str) -> None:
    """A command runs once, whatever its exit code.

    Why: clients that try again on an error send the mail, or charge the card, twice.
    Check: who retries, and on what.
    """
    for code in (0, 1, 126, 137):
        box.sh(f"echo {code} >> runs; exit {code}", cwd=here, timeout=DEADLINE)
    assert box.read_text(f"{here}/runs") == "0\n1\n126\n137\n"


def test_command_that_times_out_runs_once(box: Sandbox, here: str) -> None:
    """A command that ran into its timeout is not started again.

    Why: a wrapper that takes a timeout for a hiccup does everything that the command did a second time.
    Check: who retries, and on what.
    """
    with pytest.raises(ExecTimeoutError):
        box.sh("echo run >> runs; sleep 300", cwd=here, timeout=0.5)
    assert box.read_text(f"{here}/runs") == "run\n"


def test_lost_command_is_not_repeated(new_box: NewBox) -> None:
    """A command whose agent was killed raises ConnectionLostError, and is not run again by the new agent.

    Why: what it did before the connection was lost is unknown: only its caller knows whether it may be done twice.
    Check: what a new connection is used for.
    """
    box = new_box()
    with pytest.raises(ConnectionLostError) as caught:
        box.sh(f"echo run >> runs; {AGENTS} kill -9 $agents; sleep 300", timeout=DEADLINE)
    assert not isinstance(caught.value, SandboxGoneError), repr(caught.value)
    assert box.read_text("runs") == "run\n"
