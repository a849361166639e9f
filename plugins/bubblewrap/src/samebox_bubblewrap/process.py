"""SandboxProcess: one running bwrap with the agent as its PID 1, from its start to its end."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from samebox.engine.streams import SocketStream
from samebox.errors import EngineError, SandboxGoneError
from samebox_bubblewrap.descriptors import Descriptors, pipe, read_all, socket_pair
from samebox_bubblewrap.keeper import keeper
from samebox_bubblewrap.low_ports import open_low_ports
from samebox_bubblewrap.namespaces import namespace, wait_for_setup
from samebox_bubblewrap.network import UserNetwork
from samebox_bubblewrap.stage import HostPath, Stage

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from samebox.config.ports import HostPort
    from samebox_bubblewrap.bwrap import Bwrap, Word
    from samebox_bubblewrap.cgroups import Cgroup
    from samebox_bubblewrap.hostuser import HostUser
    from samebox_bubblewrap.plan import Plan
    from samebox_bubblewrap.ulimits import Limits

__all__ = ["SandboxProcess"]

_START_LIMIT = 30.0  # s; some ms are usual, but a machine may be short of memory
_CONNECT_LIMIT = 10.0  # s for init to take what has queued up
_END_LIMIT = 2.0  # s after which a bwrap that should end by itself is killed
_STDERR_LIMIT = 8192
# More than a quarter of the smallest send buffer, so that the kernel calls the socket writable again (poll(2),
# unix_poll in net/unix/af_unix.c) only when init has taken the message: that is how we know that it runs, without
# asking it to say so.
_FIRST_MESSAGE = bytes(2048)


class AgentStream(SocketStream):
    """A stream to an agent, which knows what bwrap and init said beside it."""

    def __init__(self, sock: socket.socket, process: SandboxProcess) -> None:
        super().__init__(sock)
        self._process = process

    def diagnostics(self) -> str:
        """Return what they wrote to stderr."""
        return self._process.stderr


class SandboxProcess:
    """A bwrap and everything in its namespaces.

    It ends when init ends, when `end` is called and when this process dies: init sees its control socket close, and the
    kernel kills bwrap and with it init.

    Args:
        bwrap: The program.
        plan: What to run.
        user: The user of the host that it all runs as; None: the caller.
    """

    def __init__(self, bwrap: Bwrap, plan: Plan, user: HostUser | None = None) -> None:
        self._bwrap = bwrap
        self._plan = plan
        self._user = user
        self._cgroup: Cgroup | None = None
        self._killed = False
        self._borrowed = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._said = b""
        self.exit_code: int | None = None
        self.out_of_memory = False
        self._process: subprocess.Popen[bytes] | None = None
        self._control, self._control_inside = socket_pair(socket.SOCK_SEQPACKET)
        self._stderr = -1
        self._first: socket.socket | None = None
        self._network: UserNetwork | None = None
        self._ports: Mapping[str, HostPort] = {}

    def start(self, cgroup: Cgroup | None, process_limit: int | None) -> None:
        """Start it, once, where no signal's handler interrupts.

        Args:
            cgroup: The sandbox's control group, or None; removed when it has ended, or when this raises.
            process_limit: Most processes, by resource limit, or None.

        Raises:
            EngineError: bwrap or init failed; the text has its words. Nothing is left.
        """
        self._cgroup = cgroup
        try:
            with self._control_inside as control, contextlib.closing(Descriptors()) as fds:
                self._stderr, stderr = pipe(os.O_NONBLOCK)
                fds.adopt(stderr)
                self._launch(control, fds, stderr=stderr, process_limit=process_limit)
            self._wait_for_init()
            keeper().watch(self._control, self._on_end)
        except BaseException:
            self._abandon()
            raise

    def _launch(
        self,
        control: socket.socket,
        fds: Descriptors,
        *,
        stderr: int,
        process_limit: int | None,
    ) -> None:
        plan = self._plan
        stage = Stage(self._user)
        options = [_spelled(word, fds, stage) for word in plan.options]
        limits = dict(plan.limits)
        if process_limit is not None:
            soft, hard = limits.get(resource.RLIMIT_NPROC, (-1, -1))
            least = tuple(process_limit if value == -1 else min(value, process_limit) for value in (soft, hard))
            limits[resource.RLIMIT_NPROC] = (least[0], least[1])
        passed = [control.fileno()]
        info = release = None
        by_thread = self._cgroup is not None and self._cgroup.by_thread
        if self._cgroup is not None:
            options += self._cgroup.view
        own_network = "--share-net" not in options
        if (self._cgroup is not None and not by_thread) or limits or own_network:
            info, info_end = fds.pipe()
            release_end, release = fds.pipe()
            options += ["--info-fd", str(info_end), "--block-fd", str(release_end)]
            passed += [info_end, release_end]
        arguments = fds.file(b"".join(os.fsencode(word) + b"\0" for word in options))
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self._first = self._send_connection(_FIRST_MESSAGE)
        argv = [
            *stage.command(self._bwrap.path),
            "--args",
            str(arguments),
            "--",
            *plan.command,
            "--control",
            str(control.fileno()),
        ]
        group = self._cgroup.entered() if self._cgroup is not None and by_thread else contextlib.nullcontext()
        within = _both(group, stage.entered())
        self._process = keeper().start(argv, fds=[*passed, *fds.files], stderr=stderr, within=within)
        if self._killed:
            self.kill()
        control.close()
        if info is not None and release is not None:
            fds.close_only(info_end, release_end)
            self._prepare(info, limits, plan, own_network=own_network)
            with contextlib.suppress(BrokenPipeError):  # bwrap has failed; _wait_for_init tells why
                os.write(release, b"\n")

    def _prepare(self, info: int, limits: Limits, plan: Plan, *, own_network: bool) -> None:
        """Limit and connect init while bwrap holds it before its start: no process of the sandbox is ever without."""
        text = read_all(info, _START_LIMIT)
        pid = text.partition(b'"child-pid": ')[2].partition(b",")[0].strip()
        if not pid.isdigit():  # bwrap has failed; _wait_for_init tells why
            return
        try:
            if self._cgroup is not None and not self._cgroup.by_thread:
                self._cgroup.add(int(pid))
            if plan.limits:
                wait_for_setup(int(pid))  # bwrap itself needs files and memory for it
            for number, limit in limits.items():
                resource.prlimit(int(pid), number, limit)
        except (ProcessLookupError, FileNotFoundError):
            return  # likewise
        except EngineError:
            self.kill()  # before the pipe that holds init back is closed
            raise
        except (OSError, ValueError) as error:
            self.kill()
            raise EngineError(f"the sandbox's limits can't be applied: {error}") from error
        if own_network:
            open_low_ports(int(pid))
        if plan.network:
            self._connect(int(pid))

    def _connect(self, pid: int) -> None:
        try:
            # slirp4netns brings loopback up too, whereupon the kernel gives it its address; bwrap, if it comes second,
            # fails with "loopback: Failed RTM_NEWADDR".
            wait_for_setup(pid)
            with namespace(pid, "net") as (network, owner):
                self._network = UserNetwork(network, owner, self._plan.ports, self._user)
                self._ports = self._network.ports
        except EngineError:
            self.kill()
            raise
        except OSError as error:
            self.kill()
            raise EngineError(f"the sandbox's network can't be made: {error}") from error

    def _wait_for_init(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLOUT)
        events = poll.poll(_START_LIMIT * 1000)
        if not events:
            raise EngineError(f"the sandbox did not start within {_START_LIMIT:.0f} s. {self.stderr}".strip())
        if events[0][1] & (select.POLLHUP | select.POLLERR):
            assert self._process is not None  # noqa: S101
            with contextlib.suppress(Exception):
                self._process.wait(_END_LIMIT)
            said = self.stderr or f"bwrap ended with exit code {self._process.returncode} and said nothing"
            raise EngineError(said)

    def _send_connection(self, message: bytes) -> socket.socket:
        """Send init one end of a new pair of sockets, for an agent to serve, and return the other."""
        ours, theirs = socket_pair(socket.SOCK_STREAM)
        with theirs:
            self._control.setblocking(False)  # noqa: FBT003
            end = time.monotonic() + _CONNECT_LIMIT
            while True:
                try:
                    socket.send_fds(self._control, [message], [theirs.fileno()])
                except BlockingIOError:
                    poll = select.poll()
                    poll.register(self._control, select.POLLOUT)
                    if poll.poll(max(0.0, end - time.monotonic()) * 1000):
                        continue
                    ours.close()
                    raise SandboxGoneError(
                        f"the sandbox's init took no connection within {_CONNECT_LIMIT:.0f} s"
                    ) from None
                except OSError as error:
                    ours.close()
                    raise SandboxGoneError(f"the sandbox has ended ({error})") from error
                else:
                    return ours

    def connect(self) -> AgentStream:
        """Open a stream to a new agent; the first one waits since the start.

        Raises:
            SandboxGoneError: It has ended.
        """
        with self._lock:
            if not self.running:
                raise SandboxGoneError(self._how_it_ended())
            first, self._first = self._first, None
            return AgentStream(first or self._send_connection(b"\0"), self)

    def _how_it_ended(self) -> str:
        why = {90: " for its idle time", 91: " for its lifetime"}.get(self.exit_code or 0, "")
        return f"the sandbox has ended{why} (exit code {self.exit_code}). {self.stderr}".strip()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self._borrowed and not self._ended.is_set():
            poll = select.poll()
            poll.register(self._control, 0)
            return not poll.poll(0)
        return not self._ended.is_set()

    @property
    def pid(self) -> int:
        """The id of its bwrap."""
        assert self._process is not None  # noqa: S101 - it has started, or there would be no object
        return self._process.pid

    @property
    def ports(self) -> Mapping[str, HostPort]:
        """Its published ports, as "8080/tcp", and where they are."""
        return self._ports

    @property
    def borrowed(self) -> bool:
        """Whether it is the sandbox of a process that this one was forked from."""
        return self._borrowed

    @property
    def stderr(self) -> str:
        """What bwrap and init wrote to stderr, the first 8 KiB of it."""
        if self._stderr >= 0:
            with contextlib.suppress(OSError):
                self._said += os.read(self._stderr, _STDERR_LIMIT - len(self._said))
        return self._said.decode(errors="replace").strip()

    def end(self, grace: float) -> None:
        """End it: init is told so by the control socket, and killed after `grace` seconds (2 at least)."""
        # Not close: a forked child of ours may have a copy of the descriptor.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        if not self._ended.wait(max(grace, _END_LIMIT)):
            self.kill()
            self._ended.wait(_START_LIMIT)

    def kill(self) -> None:
        """Kill bwrap, also one that is about to start; the kernel kills its init with it, and so all.

        The kernel does so only once init runs. Until then bwrap's child is killed with it because it is in the process
        group that bwrap leads, or sees the control socket close as soon as it is init.
        """
        self._killed = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _on_end(self) -> None:
        """Reap bwrap and give back what belonged to the sandbox; in the keeper's thread, or after a failed start."""
        with self._lock:
            if self._ended.is_set():
                return
            try:
                self._reap()
                _ = self.stderr
                # Before the waits: what comes up in them leaves no descriptor open.
                self._close_descriptors()
                if self._network is not None:
                    self._network.close()
                if self._cgroup is not None:
                    self.out_of_memory = self.exit_code == 128 + signal.SIGKILL and self._cgroup.out_of_memory
                    self._cgroup.remove()
            finally:
                self._ended.set()

    def _close_descriptors(self) -> None:
        self._control.close()
        if self._first is not None:
            self._first.close()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def _reap(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            code = process.wait(_END_LIMIT)
        except Exception:  # noqa: BLE001 - TimeoutExpired; whatever it is, nothing may be left
            self.kill()
            code = process.wait()
        self.exit_code = code if code >= 0 else 128 - code

    def _abandon(self) -> None:
        self.kill()
        self._on_end()

    def borrow(self) -> None:
        """Become a forked child's view of its parent's sandbox: it can open streams of its own, and end nothing."""
        self._lock = threading.Lock()  # this copy may be held for ever
        self._borrowed = True
        self._cgroup = None
        if self._first is not None:
            self._first.close()
            self._first = None
        if self._network is not None:
            self._network.forget()
            self._network = None
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def give_back(self) -> None:
        """Close a forked child's copy of the control socket."""
        self._control.close()
        self._ended.set()


def _spelled(word: Word, fds: Descriptors, stage: Stage) -> str:
    if isinstance(word, HostPath):
        return stage.place(word)
    return word if isinstance(word, str) else str(fds.file(word))


@contextlib.contextmanager
def _both(outer: AbstractContextManager[None], inner: AbstractContextManager[None]) -> Iterator[None]:
    with outer, inner:
        yield
