"""Snapshots: the state of a container's files as an image, which is to be started as the first image was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.engine.oci.reference import split_reference
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.snapshot import snapshot_config
from samebox.errors import EngineError

if TYPE_CHECKING:
    from samebox.engine.oci.made_images import MadeImages
    from samebox_docker.clients import ClientPool


def commit(pool: ClientPool, images: MadeImages, container: str, image: str, *, pause: bool) -> str:
    """Make an image of a container's files and return its reference.

    Args:
        pool: Clients of the daemon.
        images: The images of the same daemon.
        container: Which one; it goes on.
        image: The name that the image gets.
        pause: Whether it stands still meanwhile; a daemon without cgroups can't.

    Raises:
        ConfigError: The name has a digest.
        EngineError: Docker refused.
    """

    def make(name: str) -> str:
        repository, tag = split_reference(name)
        with pool.client(timeout=3600.0) as client:
            conf = _config(found["Config"], origin)
            return str(client.commit(container, repository=repository, tag=tag, pause=pause, conf=conf)["Id"])

    try:
        with pool.client() as client:
            found = client.inspect_container(container)
            origin = client.inspect_image(found["Image"]).get("Config") or {}
        images.keep(image, make)
    except RefusedError as error:
        if error.no_container:
            raise
        msg = f"{pool.engine} could not make the image {image!r}: {error.words}"
        raise EngineError(msg) from None
    return image


def _config(container: dict[str, Any], origin: dict[str, Any]) -> dict[str, Any]:
    return {
        **snapshot_config(container, origin),
        "Env": origin.get("Env") or [],
        **({"Healthcheck": origin["Healthcheck"]} if origin.get("Healthcheck") else {}),
        **({"StopSignal": origin["StopSignal"]} if origin.get("StopSignal") else {}),
    }
