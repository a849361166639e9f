"""Named volumes of a service, of which only samebox's own are listed and removed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from samebox.engine.contract import VolumeStatus
from samebox.engine.labels import MANAGED
from samebox.engine.oci.status import text_labels, timestamp
from samebox.errors import EngineError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def volume_status(found: Mapping[str, Any]) -> VolumeStatus:
    """Return the status of a volume from the answer of inspect."""
    created = found.get("CreatedAt")
    return VolumeStatus(str(found["Name"]), timestamp(str(created)) if created else None, text_labels(found))


def listed_volumes(found: Iterable[Mapping[str, Any]]) -> list[VolumeStatus]:
    """Return the volumes of a list, by name."""
    return sorted(map(volume_status, found), key=lambda status: status.name)


def check_ours(engine: str, volume: VolumeStatus) -> None:
    """Check that a volume is to be removed by samebox.

    Args:
        engine: Which engine and where, as "Docker at unix:///run/docker.sock".
        volume: The volume.

    Raises:
        EngineError: Somebody else made it.
    """
    if volume.labels.get(MANAGED) != "1":
        msg = f"the volume {volume.name!r} on {engine} was not made by samebox, and is not removed"
        raise EngineError(msg)


def not_removed(engine: str, name: str, words: str) -> EngineError:
    """Return the error for a volume that the service refused to remove.

    Args:
        engine: Which engine and where.
        name: The volume's name.
        words: The service's own words.
    """
    return EngineError(f"{engine} could not remove the volume {name!r}: {words}")


def unmake(names: Iterable[str], remove: Callable[[str], None]) -> None:
    """Remove volumes that were made for a sandbox that has come to nothing.

    Args:
        names: The volumes.
        remove: Removes one.
    """
    for name in names:
        with contextlib.suppress(SandboxError):  # another sandbox may use it by now
            remove(name)
