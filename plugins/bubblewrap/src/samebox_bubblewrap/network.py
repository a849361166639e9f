"""UserNetwork: a way out of a sandbox's network namespace, by slirp4netns, with the host's loopback out of reach.

slirp4netns takes apart what a hostile guest sends, so a fault of it is to gain little: it runs in a user namespace
without rights over the host, in a mount namespace with /etc and /run alone, and behind its own seccomp filter. It makes
the last two itself (--enable-sandbox, --enable-seccomp), but only as the root of its user namespace, which it does not
become where it is told of namespaces by their paths. So nsenter(1) starts it there.
"""

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
from samebox_bubblewrap.descriptors import Descriptors, above_stdio, pipe
from samebox_bubblewrap.keeper import keeper
from samebox_bubblewrap.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.config.ports import HostPort
    from samebox_bubblewrap.hostuser import HostUser

__all__ = ["RESOLVER", "UserNetwork", "network_missing"]

RESOLVER = b"nameserver 10.0.2.3\n"
"""/etc/resolv.conf inside: slirp4netns's own forwarder to the host's name servers."""
_CONFINED = ("--enable-sandbox", "--enable-seccomp")
_LIMIT = 10.0
_TUN = "/dev/net/tun"


@cache
def network_missing() -> str:
    """Return why this host can give a sandbox no network of its own; "" if it can."""
    slirp = shutil.which("slirp4netns")
    if slirp is None:
        return (
            "a network of its own needs the program slirp4netns: `apt-get install slirp4netns`. "
            "network='host' shares the host's, its loopback and abstract sockets included"
        )
    if shutil.which("nsenter") is None:
        return "a network of its own needs the program nsenter: install util-linux"
    try:
        done = subprocess.run(
            [slirp, "--help"], capture_output=True, text=True, errors="replace", timeout=_LIMIT, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"slirp4netns can't be run: {error}"
    if lacking := [option for option in _CONFINED if option not in done.stdout + done.stderr]:
        return (
            f"slirp4netns would run unconfined, as this build of it does not know {' and '.join(lacking)}; "
            "install version 1.0 or newer, built with libseccomp"
        )
    if not _opens(_TUN):
        return (
            f"slirp4netns needs {_TUN}, which {'an unprivileged user' if os.geteuid() == 0 else 'this user'} can't open"
        )
    return ""


def _opens(path: str) -> bool:
    """Return whether slirp4netns will be able to open a device."""
    try:
        everybody = os.stat(path).st_mode & 0o006 == 0o006  # noqa: PTH116
    except OSError:
        return False
    return everybody if os.geteuid() == 0 else os.access(path, os.R_OK | os.W_OK)


class UserNetwork:
    """One running slirp4netns. It ends when this is closed and when this process dies.

    Args:
        network: A descriptor of the sandbox's network namespace, in which nothing of the sandbox has run yet.
        owner: One of the user namespace that owns it, which is of the caller's making or of `user`'s.
        user: Who it runs as; None: the caller.
        ports: The sandbox's ports that are published, as "8080/tcp", and where.

    Raises:
        EngineError: It can't be started, or a port can't be published; the text has its words.
    """

    def __init__(self, network: int, owner: int, ports: Mapping[str, HostPort], user: HostUser | None = None) -> None:
        self.ports: dict[str, HostPort] = {}
        """Where the ports are."""
        self._exit_end = self._exit = -1
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with contextlib.closing(Descriptors()) as fds:
                self._start(network, owner, ports, user, fds)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise EngineError(f"the sandbox's network can't be made: {error}") from error
            raise

    def _start(
        self, network: int, owner: int, ports: Mapping[str, HostPort], user: HostUser | None, fds: Descriptors
    ) -> None:
        self._exit_end, self._exit = pipe()
        ready, ready_end = fds.pipe()
        said, said_end = fds.pipe()
        os.set_blocking(said, False)
        with _api_directory(ports, user) as (directory, directory_fd):
            argv = [*user.words] if user is not None else []
            argv += [shutil.which("nsenter") or "nsenter", f"--user=/proc/self/fd/{owner}", "--preserve-credentials"]
            argv += ["--", shutil.which("slirp4netns") or "slirp4netns", "--configure", "--mtu=65520", *_CONFINED]
            argv += ["--disable-host-loopback", f"--ready-fd={ready_end}", f"--exit-fd={self._exit_end}"]
            passed = [ready_end, self._exit_end, network, owner]
            if directory:
                # Not by its path: the directories above it may be closed to an unprivileged user.
                argv.append(f"--api-socket=/proc/self/fd/{directory_fd}/api")
                passed.append(directory_fd)
            argv += ["--netns-type=path", f"/proc/self/fd/{network}", "tap0"]
            self._process = keeper().start(argv, fds=passed, stderr=said_end, within=contextlib.nullcontext())
            fds.close_only(ready_end)
            self._wait(ready, said)
            self.ports = {port: publish(f"{directory}/api", port, where) for port, where in ports.items()}

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
def _api_directory(ports: Mapping[str, HostPort], user: HostUser | None) -> Iterator[tuple[str, int]]:
    """Yield a directory for slirp4netns's socket and a descriptor of it; "" and -1 where no ports are published."""
    if not ports:
        yield "", -1
        return
    with tempfile.TemporaryDirectory(prefix="samebox-ports-") as directory:
        if user is not None:
            os.chown(directory, user.uid, user.gid)
        fd = above_stdio(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        try:
            yield directory, fd
        finally:
            os.close(fd)
