"""LocalImages: images from this host's files, brought to a Podman service."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from samebox.engine.oci.local_images import SEND_WITHIN
from samebox.engine.oci.refusal import RefusedError
from samebox_podman.images import inspect_image, tag_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from samebox.engine.oci.image_facts import ImageFacts
    from samebox_podman.client import PodmanClient

LIST_WITHIN = 10.0
"""How long a list of images is asked for again that fails because one is removed, in seconds."""


class LocalImages:
    """A `samebox.engine.oci.local_images.ImageStore`.

    Args:
        client: The service.
        machine: The architecture of the service's host.
    """

    def __init__(self, client: PodmanClient, machine: str) -> None:
        self._client = client
        self._machine = machine
        self.engine = client.engine

    def find(self, name: str) -> ImageFacts | None:
        """Return what is known of an image; None if it is not there."""
        return inspect_image(self._client, name)

    def architecture(self) -> str:
        """Return that of the service's host."""
        return self._machine

    def load(self, data: Iterable[bytes], progress: Callable[[str], None]) -> None:  # noqa: ARG002 - Podman tells none
        """Load what `docker save` writes; see `samebox.engine.oci.local_images.ImageStore`."""
        self._client.call("post", "/images/load", data=data, timeout=SEND_WITHIN)

    def import_root(self, name: str, data: Iterable[bytes], labels: Mapping[str, str]) -> None:
        """Make an image of a root file system; see `samebox.engine.oci.local_images.ImageStore`."""
        changes = [f"LABEL {label}={json.dumps(value)}" for label, value in labels.items()]
        params = {"reference": name, "changes": changes}
        self._client.call("post", "/images/import", params=params, data=data, timeout=SEND_WITHIN)

    def images(self) -> Iterable[Mapping[str, Any]]:
        """Return the service's list of images; see `samebox.engine.oci.made_images.NamedImages`.

        Podman 4 fails at an image that is removed while it lists them.
        """
        deadline = time.monotonic() + LIST_WITHIN
        while True:
            try:
                return self._client.json("/images/json") or ()
            except RefusedError as error:
                if "image not known" not in error.words or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def containers(self) -> Iterable[Mapping[str, Any]]:
        """Return the service's list of all containers; see `samebox.engine.oci.made_images.NamedImages`."""
        return self._client.json("/containers/json", {"all": "true"}) or ()

    def tag(self, image: str, name: str) -> None:
        """Give an image another name."""
        tag_image(self._client, image, name)

    def untag(self, name: str) -> None:
        """Take a name away, and with the last one the image; nothing happens if nothing has the name."""
        self._client.call("delete", f"/images/{quote(name, safe='')}", accept=(404,))

    def remove(self, image: str) -> None:
        """Remove an image by its id; see `samebox.engine.oci.local_images.ImageStore`."""
        self._client.call("delete", f"/images/{quote(image, safe='')}")
