"""Who a sandbox belongs to: a dead owner is told from a living one, and from one that can't be seen from here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from samebox.sandbox.owner import Owner

HERE = Owner.current()


def test_a_label_round_trips() -> None:
    """What is written is what is read."""
    assert Owner.parse(str(HERE)) == HERE


@pytest.mark.parametrize("label", ["", "host", "host/1.2", "host@/boot.1/x.2", "/boot.1/1.2", "host@/boot.1/1.2x"])
def test_other_labels_name_nobody(label: str) -> None:
    """So what they are on is never taken for abandoned."""
    assert Owner.parse(label) is None


def test_this_process_is_alive_and_one_that_ended_is_dead() -> None:
    """Also one whose number another process has now."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert HERE.alive is True
    assert replace(HERE, started=HERE.started + 1).alive is False
    assert replace(HERE, pid=process.pid).alive is False


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({"host": "another@0123"}, None),
        ({"host": "alike@0123", "boot": "earlier"}, None),
        ({"namespace": "1"}, None),
    ],
)
def test_what_cannot_be_seen_from_here_is_unknown(change: dict[str, Any], alive: bool | None) -> None:  # noqa: FBT001
    """A container of the same name is another process namespace, where the number means another process."""
    assert replace(HERE, **change).alive is alive


@pytest.mark.parametrize(("machine", "alive"), [("0123", False), ("", None)])
def test_an_earlier_boot_ended_its_processes(
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    alive: bool | None,  # noqa: FBT001
) -> None:
    """If it is known that it was this machine's."""
    host = f"host@{machine}"
    monkeypatch.setattr("samebox.sandbox.owner._current", lambda pid: replace(HERE, host=host, pid=pid))

    assert replace(HERE, host=host, boot="earlier").alive is alive


def test_a_process_that_proc_hides_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hidepid another user's processes look as if they were not there."""
    monkeypatch.setattr("samebox.sandbox.owner._start_time", lambda _pid: None)

    assert replace(HERE, pid=os.getppid()).alive is None
