"""agent reach: whether an address answers."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def reach(agent: Path, environment: dict[str, str], *words: str, network: bool = True) -> int:
    """Return the exit code of a try; without a network, in a namespace with a loopback that is down."""
    prefix = [] if network else ["unshare", "--user", "--net"]
    return subprocess.run([*prefix, agent, "reach", *words], env=environment, check=False, timeout=20).returncode


def test_refusal_is_an_answer(agent_program: Path, sanitized: dict[str, str]) -> None:
    """Nothing has to listen: the kernel of what is reached says no."""
    assert reach(agent_program, sanitized, "127.0.0.1") == 0


def test_what_listens_is_reached(agent_program: Path, sanitized: dict[str, str]) -> None:
    """At any address of loopback."""
    try:
        server = socket.create_server(("127.0.0.9", 9))
    except PermissionError:
        pytest.skip("port 9 is root's here")
    with server:
        assert reach(agent_program, sanitized, "127.0.0.9") == 0


def test_silence_is_none(agent_program: Path, sanitized: dict[str, str]) -> None:
    """And does not take long: an address where packets are lost, and one to which there is no way."""
    try:
        # The backlog is full, and further connections are left without an answer.
        server = socket.create_server(("127.0.0.10", 9), backlog=0)
    except PermissionError:
        pytest.skip("port 9 is root's here")
    with server, socket.create_connection(("127.0.0.10", 9)):
        started = time.monotonic()
        assert reach(agent_program, sanitized, "127.0.0.10") == 3
        once = time.monotonic() - started
        assert reach(agent_program, sanitized, "127.0.0.10", "4") == 3
        assert time.monotonic() - started > once + 1.2


@pytest.mark.skipif(shutil.which("unshare") is None, reason="this host has no unshare(1)")
def test_no_way_is_none(agent_program: Path, sanitized: dict[str, str]) -> None:
    """Where there is no route."""
    assert reach(agent_program, sanitized, "192.0.2.1", network=False) == 3


@pytest.mark.parametrize("words", [[""], ["localhost"], ["::1"], ["127.0.0.1", "x"], ["127.0.0.1", "1", "1"], []])
def test_wrong_words_are_an_error(agent_program: Path, sanitized: dict[str, str], words: list[str]) -> None:
    """Which is no answer."""
    assert reach(agent_program, sanitized, *words) == 64
