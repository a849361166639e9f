"""Mutants that leave something behind: it is kept on a list here, and given back after the run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from samebox.engine import local

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from samebox.engine import ByteStream
    from samebox.engine.local import LocalEngine


def _at_each_connection(
    engine: type[LocalEngine], patch: pytest.MonkeyPatch, leak: Callable[[ByteStream], None]
) -> None:
    connect = engine.connect

    def leaking(self: LocalEngine, sandbox_id: str, user: str | None = None) -> ByteStream:
        stream = connect(self, sandbox_id, user)
        leak(stream)
        return stream

    patch.setattr(engine, "connect", leaking)


def _afterwards(patch: pytest.MonkeyPatch, give_back: Callable[[], object]) -> None:
    """Call something when the run of the mutant is over."""

    class Last(dict[str, object]):
        def __delitem__(self, key: str) -> None:
            super().__delitem__(key)
            give_back()

    patch.setitem(Last(), "leak", None)


@mutant("lifecycle/many-sandboxes-leave-nothing", patience=1.5)
def leaks_descriptors(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Each connection leaves a descriptor."""
    kept: list[int] = []
    _at_each_connection(engine, patch, lambda _stream: kept.append(os.open(os.devnull, os.O_RDONLY)))

    def give_back() -> None:
        for descriptor in kept:
            os.close(descriptor)

    _afterwards(patch, give_back)


@mutant("lifecycle/many-sandboxes-leave-nothing", patience=1.5)
def leaks_threads(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Each connection leaves a thread."""
    over = threading.Event()
    _at_each_connection(engine, patch, lambda _stream: threading.Thread(target=over.wait, daemon=True).start())
    _afterwards(patch, over.set)


@mutant("leftovers/no-process-is-left", patience=1.5)
def leaks_processes(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Each connection leaves a process on the host."""
    kept: list[subprocess.Popen[bytes]] = []
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    _at_each_connection(
        engine, patch, lambda _stream: kept.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, close_fds=True))
    )

    def end() -> None:
        for process in kept:
            process.kill()
            process.wait()

    _afterwards(patch, end)


@mutant("leftovers/no-process-is-left", patience=1.5)
def leaves_zombies(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox's process is not waited for: it stays as a zombie."""
    kept: list[int] = []
    # The shell's own end is what nobody asks for.
    _at_each_connection(engine, patch, lambda _stream: kept.append(os.posix_spawn("/bin/sh", ["sh", "-c", ":"], {})))

    def reap() -> None:
        for pid in kept:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    _afterwards(patch, reap)


@mutant("leftovers/no-temporary-file-is-left")
def leaks_directories(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox's directory stays on the host."""
    kept: list[Any] = []

    def remove(self: LocalEngine, sandbox_id: str) -> None:
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is not None:
            local._end(sandbox)
            kept.append(sandbox.directory)

    patch.setattr(engine, "remove", remove)

    def give_back() -> None:
        for directory in kept:
            shutil.rmtree(directory, ignore_errors=True)

    _afterwards(patch, give_back)
