"""Attachments: the streams to the first agents of what an engine object has created and not connected to yet."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from samebox.engine.oci.refusal import RefusedError
from samebox_podman.stream import AttachedStream, open_attached

if TYPE_CHECKING:
    from samebox_podman.client import PodmanClient


class Attachments:
    """By container, and by process: a forked child has no part in its parent's."""

    def __init__(self) -> None:
        self._streams: dict[tuple[int, str], AttachedStream | None] = {}
        """None before the container's start."""

    def expect(self, container: str) -> None:
        """Note that a container was created, whose start is to be attached to."""
        self._streams[os.getpid(), container] = None

    def attach(self, client: PodmanClient, container: str, timeout: float) -> None:
        """Attach to a container that is expected to start for the first time.

        Before the start: to be attached to one that has just ended would make it ready to start again. Where that
        fails, the start tells why.

        Args:
            client: The service.
            container: Its id.
            timeout: How long to wait for the answer, in seconds.
        """
        first = os.getpid(), container
        if first in self._streams and self._streams[first] is None:
            with contextlib.suppress(RefusedError):
                self._streams[first] = open_attached(client, container, timeout)

    def take(self, container: str) -> AttachedStream | None:
        """Return the stream to a container's first agent, once; None if there is none."""
        return self._streams.pop((os.getpid(), container), None)

    def drop(self, container: str) -> None:
        """Close the stream to a container's first agent, if it was not taken."""
        stream = self.take(container)
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """Close all of this process."""
        for pid, container in list(self._streams):
            if pid == os.getpid():
                self.drop(container)
