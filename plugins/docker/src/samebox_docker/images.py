"""Images: what a config's image is on the daemon, pulled, loaded or imported where it is not there yet."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.image_facts import image_facts
from samebox.engine.oci.local_images import ARCHIVES, SEND_WITHIN, local_image
from samebox.engine.oci.reference import LOCAL, split_reference
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import timestamp
from samebox.errors import ConfigError, ImageNotFoundError
from samebox_docker.credentials import credentials_for
from samebox_docker.progress import follow, parse_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from samebox.engine.oci.image_facts import ImageFacts
    from samebox_docker.clients import ClientPool

ID = "sha256:"
PULL_SILENCE = 600.0
"""How long a pull may say nothing, in seconds."""


class Images:
    """The images of one daemon; a `samebox.engine.oci.local_images.ImageStore`.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self._facts: dict[str, ImageFacts] = {}
        self.engine = pool.engine

    def ensure(self, image: str, pull: str, progress: Callable[[str], None], platform: str | None = None) -> ImageFacts:
        """Make an image available.

        Args:
            image: A reference, `tar:PATH` or `dir:PATH`.
            pull: "missing", "always" or "never".
            progress: Is told of each step of a pull or an import.
            platform: The one that it has to be of; None: any.

        Raises:
            ImageNotFoundError: It is not there and can't be had.
            ConfigError: It is no reference, or the archive is none that can be read.
        """
        facts = local_image(self, image, progress)
        if facts is None:
            return self.named(image, pull, progress, platform)
        facts.check_platform(image, platform)
        return facts

    def facts(self, image: str) -> ImageFacts:
        """Return what is known of an image that was there, by its id or name.

        Raises:
            ImageNotFoundError: It is not there any more.
        """
        known = self._facts.get(image) or self.find(image)
        if known is None:
            raise self._not_found(image, "it was removed meanwhile")
        return known

    def named(self, image: str, pull: str, progress: Callable[[str], None], platform: str | None = None) -> ImageFacts:
        """Make the image of a reference available; see `ensure`."""
        facts, before = self.find(image), ""
        if facts is not None and not facts.fits(platform):
            before = _other(facts, platform) + "; "
            facts = None
        local = image.startswith((LOCAL, ID))
        if facts is not None and (local or pull != "always"):
            return facts
        if local:
            beginning = LOCAL if image.startswith(LOCAL) else ID
            raise self._not_found(image, f"{before}what begins with {beginning!r} is never pulled")
        if pull == "never":
            raise self._not_found(image, f'{before}it may not be pulled (pull="never")')
        self._pull(image, progress, platform)
        facts = self.find(image)
        if facts is None:
            raise self._not_found(image, "it was pulled, but is not there")
        if not facts.fits(platform):
            raise self._not_found(image, _other(facts, platform))
        return facts

    def find(self, name: str) -> ImageFacts | None:
        """Return what is known of an image, by its id or name; None if it is not there.

        Raises:
            ConfigError: Docker can't read the name.
        """
        try:
            with self._pool.client() as client:
                facts = image_facts(client.inspect_image(name))
        except RefusedError as error:
            if error.status == 404:
                return None
            if error.status == 400:
                msg = f"wrong config: image = {name!r}: Docker can't read it as an image's name: {error.words}"
                raise ConfigError(msg) from None
            raise
        self._facts[facts.id] = facts
        return facts

    def architecture(self) -> str:
        """Return that of the daemon's host."""
        with self._pool.client() as client:
            return str(client.version(api_version=False).get("Arch"))

    def load(self, data: Iterable[bytes], progress: Callable[[str], None]) -> None:
        """Load what `docker save` writes; see `samebox.engine.oci.local_images.ImageStore`."""
        with self._pool.client(timeout=SEND_WITHIN) as client:
            for line in follow(client.load_image(data)):
                progress(line)

    def import_root(self, name: str, data: Iterable[bytes], labels: Mapping[str, str]) -> None:
        """Make an image of a root file system; see `samebox.engine.oci.local_images.ImageStore`."""
        repository, tag = split_reference(name)
        changes = [f"LABEL {label}={json.dumps(value)}" for label, value in labels.items()]
        with self._pool.client() as client:
            answer = client.import_image_from_data(data, repository=repository, tag=tag, changes=changes)
            for _ in follow(parse_lines(answer)):
                pass

    def remove(self, image: str) -> None:
        """Remove an image by its id; see `samebox.engine.oci.local_images.ImageStore`."""
        with self._pool.client() as client:
            client.remove_image(image)

    def images(self) -> Iterable[Mapping[str, Any]]:
        """Return the daemon's list of images; see `samebox.engine.oci.made_images.NamedImages`.

        An archive's image says when it was made somewhere else; it was brought here when it got its name.
        """
        with self._pool.client() as client:
            rows = list(client.images())
            for row in rows:
                if any(name.startswith(f"{ARCHIVES}:") for name in row.get("RepoTags") or ()):
                    with contextlib.suppress(RefusedError, ValueError):  # removed meanwhile, or it has no such time
                        tagged = client.inspect_image(row["Id"]).get("Metadata", {}).get("LastTagTime")
                        row["Created"] = max(row["Created"], timestamp(str(tagged)))
        return rows

    def containers(self) -> Iterable[Mapping[str, Any]]:
        """Return the daemon's list of all containers; see `samebox.engine.oci.made_images.NamedImages`."""
        with self._pool.client() as client:
            return list(client.containers(all=True))

    def tag(self, image: str, name: str) -> None:
        """Give an image another name."""
        repository, word = split_reference(name)
        with self._pool.client() as client:
            client.tag(image, repository, word, force=True)

    def untag(self, name: str) -> None:
        """Take a name away, and with the last one the image; nothing happens if nothing has the name."""
        try:
            self.remove(name)
        except RefusedError as error:
            if error.status != 404:
                raise

    def _pull(self, image: str, progress: Callable[[str], None], platform: str | None) -> None:
        progress(f"pulling {image}")
        repository, tag = split_reference(image)
        credentials = credentials_for(image)
        try:
            with self._pool.client(timeout=PULL_SILENCE) as client:
                answers = client.pull(
                    repository, tag=tag, stream=True, decode=True, platform=platform, auth_config=credentials.known
                )
                for line in follow(answers):
                    progress(line)
        except RefusedError as error:
            wrong = f", and {credentials.wrong}" if credentials.wrong else ""
            raise self._not_found(image, f"pulling it failed: {error.words}{wrong}") from None

    def _not_found(self, image: str, why: str) -> ImageNotFoundError:
        if image.startswith(LOCAL):
            remedy = f"Build it or load it there: `docker build -t {image} DIRECTORY`, `docker load`, or `docker tag`."
        else:
            remedy = (
                "Check its name and tag; for a private one run `docker login`; without a way to the registry load it "
                "with `docker load`, or give image='tar:PATH'."
            )
        return ImageNotFoundError(f"the image {image!r} is not on {self.engine}: {why}. {remedy}")


def _other(facts: ImageFacts, platform: str | None) -> str:
    return f"the one there is of {facts.platform}, and {platform} is asked for"
