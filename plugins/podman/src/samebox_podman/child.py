"""OwnedProcess: a helper process of this one that is gone when this one is."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TERM_GRACE = 5.0
"""How long a helper may take to end, in seconds."""


class OwnedProcess:
    """A helper process with a private directory, ended at the exit of its owner and by nobody else.

    It is ended by a finalizer rather than by an atexit function: finalizers run in the reverse order of their making,
    so one that removes a sandbox, made later, still finds the service. And not by PR_SET_PDEATHSIG, which fires
    already when the *thread* that started the process ends.

    Args:
        argv: The command; `{directory}` in an argument stands for the private directory, 0700.
        ready: Told the directory; returns whether the helper can be used.
        within: How long it may take to become ready, in seconds.
        stdin: Give it a pipe as stdin that ends with its owner, however the owner ends; otherwise it has none.

    Raises:
        OSError: The program can't be started.
        HelperError: It ended, or did not become ready; the text has the end of what it wrote.
    """

    def __init__(
        self, argv: Sequence[str], ready: Callable[[Path], bool], *, within: float, stdin: bool = False
    ) -> None:
        # The runtime directory is short, which a socket's path has to be (108 bytes), and gone with the session.
        parent = os.environ.get("XDG_RUNTIME_DIR")
        if not parent or not os.access(parent, os.W_OK | os.X_OK):
            parent = None
        self.directory = Path(tempfile.mkdtemp(prefix="samebox-", dir=parent))
        try:
            log = (self.directory / "log").open("w+b")
            with log:
                self._process = subprocess.Popen(
                    [argument.replace("{directory}", str(self.directory)) for argument in argv],
                    stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,  # Ctrl-C in the terminal is for the owner
                )
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self._finalizer = weakref.finalize(self, _end, self._process, self.directory, os.getpid())
        try:
            self._wait(ready, within)
        except BaseException:
            self.end()
            raise

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def said(self) -> str:
        """The end of what it wrote to stdout and stderr."""
        with contextlib.suppress(OSError):
            return (self.directory / "log").read_bytes()[-2000:].decode(errors="replace").strip()
        return ""

    def _wait(self, ready: Callable[[Path], bool], within: float) -> None:
        deadline = time.monotonic() + within
        while not ready(self.directory):
            if not self.alive:
                raise HelperError(f"it ended with exit code {self._process.returncode}: {self.said}")
            if time.monotonic() > deadline:
                raise HelperError(f"it was not ready within {within:.0f} s: {self.said}")
            time.sleep(0.01)

    def end(self) -> None:
        """End it and remove its directory; nothing happens if that is done, or in a forked child of the owner."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.end()


class HelperError(Exception):
    """A helper process could not be used; the text has its own words."""


def _end(process: subprocess.Popen[bytes], directory: Path, owner: int) -> None:
    if os.getpid() != owner:
        return
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_TERM_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    shutil.rmtree(directory, ignore_errors=True)
