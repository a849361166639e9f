"""Commands where the kernel, a filter or the image lacks what the agent would rather use."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
from typing import TYPE_CHECKING

import pytest

from fileclient import deny
from wire import alive, gone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wire import Agent

CLOSE_RANGE = 436
PRCTL = 157 if platform.machine() == "x86_64" else 167


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_without_close_range(start: Callable[..., Agent], tmp_path: Path, number: int) -> None:
    """Descriptors are closed one by one; none stays with a command, a worker or a supervisor."""
    agent = start(preexec_fn=lambda: deny(number, CLOSE_RANGE))
    wire = agent.wire
    others = [wire.exec("sleep", "1000") for _ in range(5)]
    assert wire.sh("ls /proc/$$/fd").stdout.split() == [b"0", b"1", b"2"]
    # The supervisor closes its own once the command has them, and nobody waits for that.
    left = (
        "i=0; while set -- /proc/$PPID/fd/*; [ $# -gt 1 ] && [ $i -lt 500 ]; do i=$((i + 1)); sleep 0.01; done; echo $#"
    )
    assert wire.sh(left).stdout == b"1\n"
    (tmp_path / "f").touch()
    assert wire.open("list", path=".").wait() == {"count": 1}
    for other in others:
        other.cancel(0)
        assert other.wait()["signal"] == 9


def test_without_prctl(start: Callable[..., Agent]) -> None:
    """Where orphans can't be adopted, what is not orphaned is still ended."""
    wire = start(preexec_fn=lambda: deny(errno.EINVAL, PRCTL), leaks=False).wire
    done = wire.sh("setsid sleep 1000 & echo $!; wait", timeout=300, grace=100)
    assert done.result == {"exit_code": 143, "signal": 15, "reason": b"timeout"}
    assert gone(int(done.stdout))


@pytest.mark.skipif(os.geteuid() != 0, reason="changes mounts")
def test_without_proc(start: Callable[..., Agent]) -> None:
    """Without /proc the process group is what can be ended."""
    unshare = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("can't make a mount namespace")
    # It begins with /proc, which its sanitizer needs, and loses it then.
    agent = start(prefix=unshare, leaks=False)
    leave = ["nsenter", "-t", str(agent.process.pid), "-m", "umount", "-l", "/proc"]
    subprocess.run(leave, check=True)
    wire = agent.wire
    assert wire.sh("ls /proc").stdout == b""
    done = wire.sh("sleep 1000 & echo $!; trap '' TERM; while :; do sleep 0.01; done", timeout=300, grace=100)
    assert done.result == {"exit_code": 137, "signal": 9, "reason": b"timeout"}
    assert gone(int(done.stdout))
    done = wire.sh("sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
    left = int(done.stdout)
    assert alive(left)
    os.kill(left, 9)


@pytest.mark.skipif(os.geteuid() != 0, reason="changes mounts")
def test_without_devices(start: Callable[..., Agent]) -> None:
    """An image without /dev: stdin is at its end all the same, and a terminal is an error."""
    unshare = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("can't make a mount namespace")
    agent = start(prefix=[*unshare, "sh", "-c", 'mount -t tmpfs none /dev; exec "$@"', "sh"])
    wire = agent.wire
    assert wire.sh("cat; echo end").stdout == b"end\n"
    failed = wire.exec("true", tty=1)
    result = failed.wait()
    assert (result["errno"], result["kind"], failed.failed) == (errno.ENOENT, b"spawn", True)
