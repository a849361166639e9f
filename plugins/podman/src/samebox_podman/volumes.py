"""Volumes: the named volumes of a service, of which only samebox's own are listed and removed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from samebox.engine.labels import MANAGED
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.volumes import check_ours, listed_volumes, not_removed, unmake, volume_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from samebox.engine import VolumeStatus
    from samebox_podman.client import PodmanClient


class Volumes:
    """The named volumes of one service.

    A container that names an absent volume makes it, but without a label; so they are made before.

    Args:
        client: The service.
    """

    def __init__(self, client: PodmanClient) -> None:
        self._client = client

    @contextlib.contextmanager
    def made(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Make those of some volumes that are absent, and tell which; they are removed again if the block raises."""
        new: list[str] = []
        try:
            new.extend(name for name in names if self._make(name))
            yield new
        except BaseException:
            unmake(new, self.remove)
            raise

    def _make(self, name: str) -> bool:
        try:
            self._client.call("post", "/volumes/create", body={"Name": name, "Label": {MANAGED: "1"}})
        except RefusedError as error:
            if "already exists" in error.words.lower():
                return False
            raise
        return True

    def list(self) -> list[VolumeStatus]:
        """Return the volumes that samebox made for sandboxes."""
        found = self._client.json("/volumes/json", {"filters": f'{{"label":["{MANAGED}=1"]}}'})
        return listed_volumes(found or ())

    def remove(self, name: str) -> None:
        """Remove a volume; nothing happens if it is not there.

        Raises:
            EngineError: It is in use, or samebox did not make it.
        """
        response = self._client.call("get", f"/volumes/{name}/json", accept=(404,))
        # Podman takes the beginning of a name as well.
        if response.status_code == 404 or (found := volume_status(self._client.decoded(response))).name != name:
            return
        check_ours(self._client.engine, found)
        try:
            self._client.call("delete", f"/volumes/{name}", accept=(404,))
        except RefusedError as error:
            raise not_removed(self._client.engine, name, error.words) from None
