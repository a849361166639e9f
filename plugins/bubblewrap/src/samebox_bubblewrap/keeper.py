"""Keeper: the one thread that starts every bwrap of this process and is told when one has ended.

bwrap's --die-with-parent is the kernel's PR_SET_PDEATHSIG, which fires when the *thread* that forked ends, not the
process (prctl(2)). So no caller's thread may fork: a sandbox made in a worker thread would die with it. This one lives
as long as the process.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING

from samebox_bubblewrap.descriptors import above_stdio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

__all__ = ["Keeper", "keeper"]


class Keeper:
    """Starts processes in a thread of its own, and calls back when a control socket's other side has closed.

    It is the thread, too, that is in other control groups and mounts than its process for the moment of a start.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake = above_stdio(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="samebox-bubblewrap", daemon=True).start()

    def start(
        self, argv: Sequence[str], *, fds: Sequence[int], stderr: int, within: AbstractContextManager[None]
    ) -> subprocess.Popen[bytes]:
        """Start a program, in a session of its own, which no signal to this process's group or session reaches.

        Args:
            argv: The command.
            fds: Descriptors that it gets, under the same numbers; every other one of this process is closed in it.
            stderr: Its stderr.
            within: Entered by the forking thread meanwhile.

        Returns:
            The process.

        Raises:
            OSError: It can't be started.
        """
        future: Future[subprocess.Popen[bytes]] = Future()

        def start() -> None:
            process = None
            try:
                null = subprocess.DEVNULL
                with within:
                    # An empty environment: LD_PRELOAD and the like are not bwrap's business, nor secrets the sandbox's.
                    # A session of its own: a terminal's Ctrl-C and hangup go to whole process groups and sessions.
                    process = subprocess.Popen(
                        argv,
                        env={},
                        stdin=null,
                        stdout=null,
                        stderr=stderr,
                        pass_fds=fds,
                        cwd="/",
                        start_new_session=True,
                    )
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller's thread
                if process is not None:
                    process.kill()
                    process.wait()
                future.set_exception(error)
            else:
                future.set_result(process)

        self._submit(start)
        return future.result()

    def watch(self, control: socket.socket, ended: Callable[[], None]) -> None:
        """Call `ended` in the keeper's thread once the other side of a socket has closed."""
        self._submit(lambda: self._register(control, ended))

    def _register(self, control: socket.socket, ended: Callable[[], None]) -> None:
        if control.fileno() < 0:
            ended()
        else:
            self._selector.register(control, selectors.EVENT_READ, ended)

    def _submit(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._wake:
                    os.eventfd_read(self._wake)
                    while not self._jobs.empty():
                        self._jobs.get()()
                else:
                    # init never sends anything: readable means closed.
                    self._selector.unregister(key.fileobj)
                    key.data()


_LOCK = threading.Lock()
_keeper: Keeper | None = None


def keeper() -> Keeper:
    """Return this process's keeper, starting it on the first call."""
    global _keeper  # noqa: PLW0603 - one for each process
    with _LOCK:
        if _keeper is None:
            _keeper = Keeper()
        return _keeper


def _forget() -> None:
    """After a fork the child has no such thread, and its copy of the lock may be held for ever."""
    global _keeper, _LOCK
    _keeper, _LOCK = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
