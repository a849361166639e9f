"""The link to a service, cut after any byte, stalled and slow."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from proxy import Proxy
from samebox import ConnectionLostError, Sandbox, SandboxError
from ssh_server import SshServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fault_bed import Service, Table

pytestmark = pytest.mark.timeout(240)

DEADLINE = 8.0
"""The timeout of what has one, in seconds."""
PROMISED = "a result or a SandboxError in time; the next call works"


OVER = pytest.mark.parametrize("link", ["unix", "tcp"], indirect=True)


@pytest.fixture
def link(request: pytest.FixtureRequest, service: Service) -> Iterator[Proxy]:
    """A proxy before the service, over a unix socket or tcp."""
    with TemporaryDirectory(prefix="sbx") as name:
        path = Path(name) / "s" if getattr(request, "param", "unix") == "unix" else None
        with Proxy(path, service.url.removeprefix("unix://")) as proxy:
            yield proxy


def over(link: Proxy) -> str:
    """Return what a row says of how the service is reached."""
    return ", over tcp" if link.url.startswith("tcp") else ""


def behind(link: Proxy, service: Service) -> dict[str, Any]:
    """Return the settings of a sandbox on the service behind the proxy."""
    return service.settings(options={"url": link.url})


@OVER
def test_cut_in_a_command(link: Proxy, service: Service, table: Table) -> None:
    """After any byte of a command's answer: the call ends in time, and the next one gets a new connection."""
    generator = random.Random(1)  # noqa: S311 - where to cut
    seen: dict[str, int] = {}
    with Sandbox(**behind(link, service)) as box:
        for count in [*range(1, 120), *range(120, 400, 7), *(generator.randrange(400, 200_000) for _ in range(20))]:
            link.cut_after(count)
            began = time.monotonic()
            try:
                size = len(box.exec(["head", "-c", "100000", "/dev/zero"], timeout=DEADLINE).stdout)
                outcome = "a result" if size == 100_000 else f"{size} bytes"
            except SandboxError as error:
                outcome = type(error).__name__
            assert time.monotonic() - began < DEADLINE + 5, (count, outcome)
            seen[outcome] = seen.get(outcome, 0) + 1
            link.cut_after(None)
            assert box.exec(["echo", "on"], timeout=DEADLINE).text == "on\n", count
    assert seen.keys() <= {"a result", "ConnectionLostError"}, seen
    table.add(f"link cut after any byte of a command{over(link)}", PROMISED, service.name, ", ".join(sorted(seen)))


def test_cut_in_a_start(link: Proxy, service: Service, table: Table) -> None:
    """After any byte of a start's answers: the start ends in time, and a later one works; nothing is left."""
    generator = random.Random(2)  # noqa: S311
    seen = set()
    for count in (1, 20, 100, 300, *(generator.randrange(400, 40_000) for _ in range(12))):
        link.cut_after(count)
        began = time.monotonic()
        try:
            Sandbox(**behind(link, service)).start().close()
            outcome = "a result"
        except SandboxError as error:
            outcome = type(error).__name__
        assert time.monotonic() - began < 30, (count, outcome)
        seen.add(outcome)
        link.cut_after(None)
        with Sandbox(**behind(link, service)) as box:
            assert box.exec(["echo", "on"], timeout=DEADLINE).text == "on\n", count
    table.add("link cut after any byte of a start", PROMISED, service.name, ", ".join(sorted(seen)))


def test_stalled(link: Proxy, service: Service, table: Table) -> None:
    """A link on which nothing comes any more, and which is not closed, holds no call beyond its timeout."""
    with Sandbox(**behind(link, service)) as box:
        box.exec(["true"], timeout=DEADLINE)
        link.stall(stalled=True)
        began = time.monotonic()
        with pytest.raises(SandboxError) as caught:
            box.exec(["sleep", "1"], timeout=2)
        assert time.monotonic() - began < 2 + 5 + 1
        began = time.monotonic()
        with pytest.raises(SandboxError):
            box.read_bytes("/etc/passwd")
        assert time.monotonic() - began < 30
        link.stall(stalled=False)
        link.cut()
        assert box.exec(["echo", "on"], timeout=DEADLINE).text == "on\n"
    table.add("link stalled", PROMISED, service.name, type(caught.value).__name__)


def test_slow(link: Proxy, service: Service, table: Table) -> None:
    """A link that takes a fifth of a second for each part of an answer is slow, and nothing else."""
    with Sandbox(**behind(link, service)) as box:
        link.delay = 0.2
        assert box.exec(["head", "-c", "1000000", "/dev/zero"], timeout=60).stdout == bytes(1_000_000)
        box.write_bytes("file", bytes(1_000_000))
        assert box.read_bytes("file") == bytes(1_000_000)
        link.delay = 0.0
    table.add("link with a delay of 0.2 s", "the result", service.name, "a result")


@OVER
def test_cut_for_good(link: Proxy, service: Service, table: Table) -> None:
    """Without any link a call fails at once, and the sandbox can be used again when the link is back."""
    with Sandbox(**behind(link, service)) as box:
        link.cut()
        link.cut_after(0, for_good=True)
        began = time.monotonic()
        with pytest.raises(SandboxError) as caught:
            box.exec(["true"], timeout=DEADLINE)
        assert time.monotonic() - began < DEADLINE + 5
        link.cut_after(None)
        box.exec(["true"], timeout=DEADLINE).check()
    table.add(f"link gone, then back{over(link)}", PROMISED, service.name, type(caught.value).__name__)


def test_ssh(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    """A connection through ssh that breaks is lost, and the next call makes another one."""
    if not SshServer.is_here():
        pytest.fail("this host has no sshd: install openssh-server")
    with SshServer(tmp_path, service.url) as server:
        monkeypatch.setenv("PATH", f"{server.programs}:{os.environ['PATH']}")
        path = "" if service.engine == "docker" else service.url.removeprefix("unix://")
        with Sandbox(**service.settings(options={"url": f"ssh://{server.host}{path}"})) as box:
            for _ in range(3):
                box.write_text("file", "kept")
                timer = threading.Timer(0.5, server.cut)
                timer.start()
                began = time.monotonic()
                with pytest.raises(ConnectionLostError) as caught:
                    box.exec(["sleep", "60"], timeout=DEADLINE)
                timer.join()
                assert time.monotonic() - began < DEADLINE + 5
                assert box.exec(["echo", "on"], timeout=DEADLINE).text == "on\n"
                assert box.read_text("file") == "kept"
    table.add("link through ssh cut in a command", PROMISED, service.name, type(caught.value).__name__)
