"""Snapshots: the state of a container's files as an image, which is to be started as the first image was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.reference import split_reference
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.snapshot import snapshot_config
from samebox.engine.oci.status import text_labels
from samebox.errors import EngineError
from samebox_podman.images import new_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.engine.oci.made_images import MadeImages
    from samebox_podman.client import PodmanClient

COMMIT_WITHIN = 3600.0
"""How long the service may take, in seconds."""


def commit(client: PodmanClient, images: MadeImages, container: str, image: str, *, pause: bool) -> str:
    """Make an image of a container's files and return its reference.

    Args:
        client: The service.
        images: The service's images.
        container: Which one; it goes on.
        image: The name that the image gets; below localhost/ if it has no registry.
        pause: Whether it stands still meanwhile; a service without cgroups can't.

    Raises:
        ConfigError: The name has a digest.
        EngineError: Podman refused.
    """

    def make(name: str) -> str:
        repository, tag = split_reference(name)
        params = {
            "container": container,
            "repo": repository,
            "tag": tag,
            "pause": json.dumps(pause),
            "format": "docker",  # OCI's has no health check
            "changes": list(_changes(found["Config"], origin)),
        }
        return str(client.decoded(client.call("post", "/commit", params=params, timeout=COMMIT_WITHIN))["Id"])

    try:
        found = client.json(f"/containers/{container}/json")
        origin = client.json(f"/images/{found['Image']}/json").get("Config") or {}
        images.keep(new_name(image), make)
    except RefusedError as error:
        if error.no_container:
            raise
        msg = f"{client.engine} could not make the image {image!r}: {error.words}"
        raise EngineError(msg) from None
    return image


def _changes(container: dict[str, Any], origin: dict[str, Any]) -> Iterator[str]:
    said = snapshot_config(container, origin)
    yield f"ENTRYPOINT {json.dumps(said['Entrypoint'])}"
    yield f"CMD {json.dumps(said['Cmd'])}"
    yield f"USER {said['User']}"
    yield f"WORKDIR {said['WorkingDir']}"
    has = text_labels(container)
    yield from (f'LABEL "{name}"="{value}"' for name, value in said["Labels"].items() if value != has.get(name))
