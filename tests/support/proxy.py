"""Proxy: a link to a service's socket, over a unix socket or tcp, that can be cut, stalled and slowed down."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 64 << 10


class Proxy:
    """Forwards each connection to a unix socket.

    Args:
        path: The unix socket on which it listens; None: a port of the loopback.
        target: The service's socket.
    """

    def __init__(self, path: Path | None, target: str) -> None:
        self.delay = 0.0
        """How long each part of an answer is held back, in seconds."""
        self._target = target
        self._left: int | None = None
        self._for_good = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(64)
            self.url = f"unix://{path}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stall(stalled=False)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()

    def cut_after(self, count: int | None, *, for_good: bool = False) -> None:
        """Cut every connection once that many further bytes have come from the service; None: never.

        Args:
            count: How many bytes.
            for_good: Whether to cut each later connection at its first byte too.
        """
        with self._lock:
            self._left = count
            self._for_good = for_good

    def stall(self, *, stalled: bool) -> None:
        """Hold back whatever comes from the service, or let it flow again."""
        (self._flowing.clear if stalled else self._flowing.set)()

    def cut(self) -> None:
        """Cut every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self._target)
            except OSError:
                near.close()
                far.close()
                continue
            with self._lock:
                self._pairs.add((near, far))
            ends = threading.Semaphore(0)
            for source, sink, answers in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._copy, args=(source, sink, answers, ends), daemon=True).start()
            threading.Thread(target=self._close, args=(near, far, ends), daemon=True).start()

    def _close(self, near: socket.socket, far: socket.socket, ends: threading.Semaphore) -> None:
        for _ in range(2):
            ends.acquire()
        with self._lock:
            self._pairs.discard((near, far))
        near.close()
        far.close()

    def _copy(self, source: socket.socket, sink: socket.socket, answers: bool, ends: threading.Semaphore) -> None:  # noqa: FBT001
        try:
            while data := source.recv(_CHUNK):
                if answers:
                    self._flowing.wait()
                    time.sleep(self.delay)
                    data, over = self._allowed(data)
                    sink.sendall(data)
                    if over:
                        self.cut()
                        return
                else:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
        finally:
            ends.release()

    def _allowed(self, data: bytes) -> tuple[bytes, bool]:
        with self._lock:
            if self._left is None:
                return data, False
            part = data[: self._left]
            self._left -= len(part)
            over = self._left == 0
            if over and not self._for_good:
                self._left = None
            return part, over
