"""Volumes: the named volumes of a daemon, of which only samebox's own are listed and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.engine import VolumeStatus
from samebox.engine.labels import MANAGED
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import timestamp
from samebox.errors import EngineError

if TYPE_CHECKING:
    from samebox_docker.clients import ClientPool


class Volumes:
    """The named volumes of one daemon. A container makes those that are absent; see `samebox_docker.mounts`.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool

    def exists(self, name: str) -> bool:
        """Tell whether there is a volume of a name."""
        return self._inspect(name) is not None

    def list(self) -> list[VolumeStatus]:
        """Return the volumes that samebox made for sandboxes."""
        with self._pool.client() as client:
            found = client.volumes(filters={"label": [f"{MANAGED}=1"]}).get("Volumes") or ()
        return sorted(map(_status, found), key=lambda status: status.name)

    def remove(self, name: str) -> None:
        """Remove a volume; nothing happens if it is not there.

        Raises:
            EngineError: It is in use, or samebox did not make it.
        """
        url = self._pool.address.url
        found = self._inspect(name)
        if found is None:
            return
        if found.labels.get(MANAGED) != "1":
            msg = f"the volume {name!r} on Docker at {url} was not made by samebox, and is not removed"
            raise EngineError(msg)
        try:
            with self._pool.client() as client:
                client.remove_volume(name)
        except RefusedError as error:
            if error.status != 404:
                msg = f"Docker at {url} could not remove the volume {name!r}: {error.words}"
                raise EngineError(msg) from None

    def _inspect(self, name: str) -> VolumeStatus | None:
        try:
            with self._pool.client() as client:
                return _status(client.inspect_volume(name))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise


def _status(volume: dict[str, Any]) -> VolumeStatus:
    labels = {str(name): str(value) for name, value in (volume.get("Labels") or {}).items()}
    created = volume.get("CreatedAt")
    return VolumeStatus(str(volume["Name"]), timestamp(str(created)) if created else None, labels)
