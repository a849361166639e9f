"""Volumes: the named volumes of a daemon, of which only samebox's own are listed and removed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from samebox.engine.labels import MANAGED
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.volumes import check_ours, listed_volumes, not_removed, unmake, volume_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from samebox.engine import VolumeStatus
    from samebox_docker.clients import ClientPool


class Volumes:
    """The named volumes of one daemon. A container makes those that are absent; see `samebox_docker.mounts`.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool

    @contextlib.contextmanager
    def made(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Tell which of some volumes a block makes, as by a container; they are removed again if the block raises."""
        absent = [name for name in names if self._inspect(name) is None]
        try:
            yield absent
        except BaseException:
            unmake(absent, self.remove)
            raise

    def list(self) -> list[VolumeStatus]:
        """Return the volumes that samebox made for sandboxes."""
        with self._pool.client() as client:
            found = client.volumes(filters={"label": [f"{MANAGED}=1"]}).get("Volumes") or ()
        return listed_volumes(found)

    def remove(self, name: str) -> None:
        """Remove a volume; nothing happens if it is not there.

        Raises:
            EngineError: It is in use, or samebox did not make it.
        """
        found = self._inspect(name)
        if found is None:
            return
        check_ours(self._pool.engine, found)
        try:
            with self._pool.client() as client:
                client.remove_volume(name)
        except RefusedError as error:
            if error.status != 404:
                raise not_removed(self._pool.engine, name, error.words) from None

    def _inspect(self, name: str) -> VolumeStatus | None:
        try:
            with self._pool.client() as client:
                return volume_status(client.inspect_volume(name))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
