"""A network namespace of nobody's: how root gives a sandbox a network without slirp4netns having rights over the host.

slirp4netns has to be the root of the user namespace that owns the sandbox's network, and in one that bwrap makes for
root that is the host's root. So the network is made before the sandbox, in a user namespace whose root is nobody on the
host, and bwrap is started in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.errors import EngineError
from samebox_bubblewrap.descriptors import Descriptors, above_stdio, read_all
from samebox_bubblewrap.keeper import keeper
from samebox_bubblewrap.namespaces import namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["entered", "unprivileged_network"]

_LIMIT = 10.0
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def unprivileged_network(bwrap: str, root: int) -> Iterator[tuple[int, int]]:
    """Make a network namespace, and yield descriptors of it and of the user namespace that owns it.

    Args:
        bwrap: The path of bwrap, which is the program here that can make namespaces and wait.
        root: The host's uid and gid that the user namespace's root, its one user, is to be.

    Raises:
        EngineError: It can't be made; the text has bwrap's words.
        OSError: The kernel refuses.
    """
    with contextlib.closing(Descriptors()) as fds:
        info, info_end = fds.pipe()
        release_end, _ = fds.pipe()
        said, said_end = fds.pipe()
        # Not --die-with-parent, which kills bwrap and not its child. It ends when the pipe that it waits at closes.
        argv = [bwrap, "--unshare-user", "--unshare-net", "--info-fd", str(info_end)]
        argv += ["--userns-block-fd", str(release_end), "--ro-bind", "/", "/", "--", "/none"]
        holder = keeper().start(argv, fds=[info_end, release_end], stderr=said_end, within=contextlib.nullcontext())
        try:
            fds.close_only(info_end, said_end)
            pid = read_all(info, _LIMIT).partition(b'"child-pid": ')[2].partition(b",")[0].strip()
            if not pid.isdigit():
                words = read_all(said, _LIMIT).decode(errors="replace").strip() or "it said nothing"
                raise EngineError(f"bwrap could not make the sandbox's network: {words}")
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{int(pid)}/{kind}").write_text(f"0 {root} 1\n", encoding="ascii")
            with namespace(int(pid), "net") as found:
                yield found
        finally:
            # Its process group: bwrap's child waits for it, and has not yet asked to die with it.
            os.killpg(holder.pid, signal.SIGKILL)
            holder.wait()


@contextlib.contextmanager
def entered(network: int) -> Iterator[None]:
    """Be in a network namespace with the calling thread alone, so that what it forks meanwhile begins there.

    Raises:
        OSError: The kernel refuses.
    """
    before = above_stdio(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    try:
        _enter(network)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)


def _enter(network: int) -> None:
    if _LIBC.setns(network, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
