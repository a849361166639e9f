"""open_low_ports: gives the ports below 1024 of a sandbox's own network to every user, as Docker does."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from samebox.errors import EngineError
from samebox_bubblewrap.keeper import keeper
from samebox_bubblewrap.namespaces import entered, namespace, wait_for_setup

__all__ = ["open_low_ports"]

_FIRST = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_LIMIT = 5.0


def open_low_ports(pid: int) -> None:
    """Let every user listen on the ports below 1024 in the network namespace of a sandbox's first process.

    From inside nobody may: the kernel asks for a capability over the network, which nobody in a sandbox has. Nothing
    happens where this host can't change it, as where its /proc/sys is read-only.

    Args:
        pid: The process, which bwrap holds back before its start. Its network is no other process's.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(OSError), namespace(pid, "net") as (network, _), entered(network):
            _FIRST.write_text("0", encoding="ascii")
        return
    program = shutil.which("nsenter")
    if program is None:
        return
    with contextlib.suppress(OSError, EngineError, subprocess.TimeoutExpired):
        wait_for_setup(pid)  # not readable before
        with namespace(pid, "net") as (network, user):
            argv = [program, f"--user=/proc/self/fd/{user}", f"--net=/proc/self/fd/{network}"]
            argv += ["--preserve-credentials", "--", "/bin/sh", "-c", f"echo 0 > {_FIRST}"]
            within = contextlib.nullcontext()
            process = keeper().start(argv, fds=[network, user], stderr=subprocess.DEVNULL, within=within)
            try:
                process.wait(_LIMIT)
            finally:
                process.kill()
                process.wait()
