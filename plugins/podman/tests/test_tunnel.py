"""Podman on another host, through ssh: one ssh for all, its words in the errors, and none left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samebox.errors import EngineUnavailableError
from samebox_podman import tunnel
from samebox_podman.address import Address
from samebox_podman.engine import PodmanEngine
from samebox_podman.tunnel import tunnel_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox

# Does what the real one does with these arguments: forwards a socket until its stdin ends.
SSH = """
import os, socket, sys, threading
argv = sys.argv[1:]
open(os.environ["FAKE_SSH_LOG"], "a").write(repr(argv) + "\\n")
if "nohost" in argv:
    sys.exit("ssh: Could not resolve hostname nohost: Name or service not known")
local, remote = argv[argv.index("-L") + 1].split(":")
server = socket.socket(socket.AF_UNIX)
server.bind(local)
server.listen()
def copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def forward(near):
    far = socket.socket(socket.AF_UNIX)
    try:
        far.connect(remote)
    except OSError:
        print("channel 2: open failed: connect failed: open failed", file=sys.stderr, flush=True)
        near.close()
        return
    threading.Thread(target=copy, args=(near, far), daemon=True).start()
    copy(far, near)
    near.close()
def serve():
    while True:
        threading.Thread(target=forward, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
sys.stdin.buffer.read()
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    """Put an ssh first on PATH that forwards on this host, and tell how it was called."""
    (tmp_path / "fake.py").write_text(SSH)
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/fake.py" "$@"\n')
    program.chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SSH_LOG", str(log))
    yield lambda: [eval(line) for line in log.read_text().splitlines()]  # noqa: S307 - written by the program above
    for each in list(tunnel._TUNNELS.values()):
        each.end()
    tunnel._TUNNELS.clear()


def test_a_sandbox_on_another_host(
    make: Callable[..., Sandbox], url: str, ssh: Callable[[], list[Any]], tmp_path: Path
) -> None:
    """Calls and streams go through one ssh, with the user, port and key that were named."""
    (tmp_path / "key").touch()
    far = f"ssh://me@host:2222{url.removeprefix('unix://')}"
    data = os.urandom(1 << 20)
    for _ in range(2):
        with make(options={"url": far, "identity": str(tmp_path / "key")}) as box:
            box.write_bytes("x", data)
            assert box.read_bytes("x") == data
            assert box.info is not None
            assert box.info.address == far
    (argv,) = ssh()
    assert argv[argv.index("-o") : argv.index("-o") + 2] == ["-o", "BatchMode=yes"]
    assert argv[-3:] == ["--", "host", "cat"]
    for option, value in (("-i", str(tmp_path / "key")), ("-p", "2222"), ("-l", "me")):
        assert argv[argv.index(option) + 1] == value


def test_one_that_has_ended_is_started_again(url: str, ssh: Callable[[], list[Any]]) -> None:
    """As after a lost network."""
    with contextlib.closing(PodmanEngine({"url": f"ssh://host{url.removeprefix('unix://')}"})) as engine:
        engine.list()
        tunnel_to(engine.client.address).end()
        engine.list()
    assert len(ssh()) == 2


def test_ssh_fails(ssh: Callable[[], list[Any]]) -> None:
    """Its words, and how to see them oneself."""
    with pytest.raises(EngineUnavailableError) as caught:
        PodmanEngine({"url": "ssh://me@nohost:22/run/podman/podman.sock"}).probe()
    assert str(caught.value) == (
        "no Podman service can be used at ssh://me@nohost:22/run/podman/podman.sock (options.url): ssh failed: it "
        "ended with exit code 1: ssh: Could not resolve hostname nohost: Name or service not known. Check that "
        "`ssh -o BatchMode=yes -p 22 me@nohost podman version` works: keys and host key known."
    )
    assert len(ssh()) == 1


@pytest.mark.usefixtures("ssh")
def test_no_service_there() -> None:
    """Ssh connects, but nothing listens at the other end."""
    with pytest.raises(EngineUnavailableError) as caught:
        PodmanEngine({"url": "ssh://host/no/such.sock"}).probe()
    text = str(caught.value)
    assert "through ssh; ssh said: channel 2: open failed: connect failed: open failed. " in text
    assert (
        "Check that a Podman service listens at /no/such.sock there: `systemctl --user enable --now podman.soc" in text
    )


def test_no_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to log in with."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailableError, match=r"there is no ssh program in PATH\. Install OpenSSH's client\."):
        tunnel_to(Address("ssh://host/x.sock", "options.url")).ensure()
    tunnel._TUNNELS.clear()


@pytest.mark.usefixtures("ssh")
def test_it_ends_with_a_killed_owner() -> None:
    """Its stdin is a pipe from the owner."""
    code = textwrap.dedent("""
        import time
        from samebox_podman.address import Address
        from samebox_podman.tunnel import tunnel_to
        tunnel = tunnel_to(Address("ssh://host/x.sock", "a test"))
        tunnel.ensure()
        print(tunnel._process.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
