"""UserNetwork: a way out of a sandbox's network namespace, by slirp4netns, with the host itself out of reach."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import tempfile
from functools import cache
from typing import TYPE_CHECKING

from samebox.errors import EngineError
from samebox_bubblewrap.descriptors import Descriptors, pipe
from samebox_bubblewrap.keeper import keeper
from samebox_bubblewrap.namespaces import namespace, wait_for_setup
from samebox_bubblewrap.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.config.ports import HostPort

__all__ = ["RESOLVER", "UserNetwork", "network_missing"]

RESOLVER = b"nameserver 10.0.2.3\n"
"""/etc/resolv.conf inside: slirp4netns's own forwarder to the host's name servers."""
_LIMIT = 10.0
_TUN = "/dev/net/tun"


@cache
def network_missing() -> str:
    """Return why this host can give a sandbox no network of its own; "" if it can."""
    if shutil.which("slirp4netns") is None:
        return (
            "a network of its own needs the program slirp4netns: `apt-get install slirp4netns`. "
            "network='host' shares the host's, its loopback and abstract sockets included"
        )
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"slirp4netns needs {_TUN}, which this user can't open"
    return ""


class UserNetwork:
    """One running slirp4netns. It ends when this is closed and when this process dies.

    Args:
        pid: A process in the sandbox's namespaces, that has not run anything of the sandbox yet.
        ports: The sandbox's ports that are published, as "8080/tcp", and where.

    Raises:
        EngineError: It can't be started, or a port can't be published; the text has its words.
    """

    def __init__(self, pid: int, ports: Mapping[str, HostPort]) -> None:
        self.ports: dict[str, HostPort] = {}
        """Where the ports are."""
        self._exit_end = self._exit = -1
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with contextlib.closing(Descriptors()) as fds:
                self._start(pid, ports, fds)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise EngineError(f"the sandbox's network can't be made: {error}") from error
            raise

    def _start(self, pid: int, ports: Mapping[str, HostPort], fds: Descriptors) -> None:
        self._exit_end, self._exit = pipe()
        ready, ready_end = fds.pipe()
        said, said_end = fds.pipe()
        os.set_blocking(said, False)
        # slirp4netns brings loopback up too, whereupon the kernel gives it its address; bwrap, if it comes second,
        # fails with "loopback: Failed RTM_NEWADDR".
        wait_for_setup(pid)
        with namespace(pid, "net") as (network, user), _api_socket(ports) as api:
            argv = [shutil.which("slirp4netns") or "slirp4netns", "--configure", "--mtu=65520"]
            argv += ["--disable-host-loopback", f"--ready-fd={ready_end}", f"--exit-fd={self._exit_end}"]
            argv += [f"--userns-path=/proc/self/fd/{user}", "--netns-type=path", f"/proc/self/fd/{network}", "tap0"]
            passed = [ready_end, self._exit_end, network, user]
            argv[1:1] = [f"--api-socket={api}"] if api else []
            self._process = keeper().start(argv, fds=passed, stderr=said_end, within=contextlib.nullcontext())
            fds.close_only(ready_end)
            self._wait(ready, said)
            self.ports = {port: publish(api, port, where) for port, where in ports.items()}

    def _wait(self, ready: int, said: int) -> None:
        """Wait until it says that the interface is there."""
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        if poll.poll(_LIMIT * 1000) and os.read(ready, 1) == b"1":
            return
        text = b""
        with contextlib.suppress(BlockingIOError):
            text = os.read(said, 4096)
        words = text.decode(errors="replace").strip()[-1000:] or f"it said nothing within {_LIMIT:.0f} s"
        raise EngineError(f"slirp4netns could not make the sandbox's network: {words}")

    def close(self) -> None:
        """End it. May be called again."""
        self.forget()
        if self._process is not None:
            try:
                self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def forget(self) -> None:
        """Close our end of the pipe that keeps it alive; in a forked child the parent's is still there."""
        ends, self._exit, self._exit_end = (self._exit, self._exit_end), -1, -1
        for fd in ends:
            if fd >= 0:
                os.close(fd)


@contextlib.contextmanager
def _api_socket(ports: Mapping[str, HostPort]) -> Iterator[str]:
    """Yield a path for slirp4netns's socket, which is needed for publishing ports alone; "" where there are none."""
    if not ports:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="samebox-ports-") as directory:
        yield f"{directory}/api"
