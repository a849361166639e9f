"""Whether a daemon of this host can give all capabilities, which it does not say: only a start that fails does."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samebox_docker.address import Address

PROC = Path("/proc")
_CREDENTIALS = struct.Struct("3i")
_TIMEOUT = 5.0


def no_privilege(address: Address) -> str | None:
    """Return why a daemon can't start privileged containers; None: it can, or runs where that can't be told.

    Args:
        address: Where it is.
    """
    if address.scheme != "unix":
        return None
    with contextlib.suppress(OSError, ValueError):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_TIMEOUT)
            link.connect(address.socket_path)
            credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return lacks_capabilities(PROC, _CREDENTIALS.unpack(credentials)[0])
    return None


def lacks_capabilities(proc: Path, pid: int) -> str | None:
    """Return the capabilities that a process may not give, in words; None: it may give all.

    Args:
        proc: The proc file system.
        pid: The process that listens.

    Raises:
        OSError: Nothing can be read there.
        ValueError: What is there can't be understood.
    """
    last = int((proc / "sys/kernel/cap_last_cap").read_text())
    lines = (proc / str(pid) / "status").read_text().splitlines()
    bounding = next((int(line.split()[1], 16) for line in lines if line.startswith("CapBnd:")), -1)
    lacking = [str(number) for number in range(last + 1) if not bounding >> number & 1]
    if not lacking:
        return None
    return f"the daemon itself runs without the capabilities of number {', '.join(lacking)}, so it can't give them all"
