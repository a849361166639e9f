"""Images: what a config's image is on the daemon, pulled, loaded or imported where it is not there yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.engine.oci.refusal import RefusedError
from samebox.errors import ConfigError, ImageNotFoundError
from samebox_docker.local_images import LocalImages
from samebox_docker.progress import StreamError, follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox_docker.clients import ClientPool

LOCAL = "localhost/"
"""What names of images begin with that were made on a machine; there is no registry behind them."""
ID = "sha256:"
PULL_SILENCE = 600.0
"""How long a pull may say nothing, in seconds."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image says about the containers made from it."""

    id: str
    architecture: str
    user: str
    volumes: tuple[str, ...]
    platform: str = ""
    """As linux/arm64/v8."""

    def fits(self, platform: str | None) -> bool:
        """Tell whether it is of a platform; where no variant is asked for, each does."""
        own = self.platform.replace("arm64/v8", "arm64")  # there is no other
        return platform is None or f"{own}/".startswith(platform.replace("arm64/v8", "arm64") + "/")


class Images:
    """The images of one daemon.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self._facts: dict[str, ImageFacts] = {}
        self._local = LocalImages(pool)

    def ensure(self, image: str, pull: str, progress: Callable[[str], None], platform: str | None = None) -> ImageFacts:
        """Make an image available.

        Args:
            image: A reference, `tar:PATH` or `dir:PATH`.
            pull: "missing", "always" or "never".
            progress: Is told of each step of a pull or an import.
            platform: The one that it has to be of; None: any.

        Raises:
            ImageNotFoundError: It is not there and can't be had.
            ConfigError: It is no reference, or the archive is none that Docker can read.
        """
        kind, _, path = image.partition(":")
        if kind == "tar":
            image = self._local.archive(path, progress)
        elif kind == "dir":
            image = self._local.directory(path, progress)
        else:
            return self.named(image, pull, progress, platform)
        facts = self.facts(image)
        if not facts.fits(platform):
            raise self._not_found(f"{kind}:{path}", _other(facts, platform))
        return facts

    def facts(self, image: str) -> ImageFacts:
        """Return what is known of an image that was there, by its id or name.

        Raises:
            ImageNotFoundError: It is not there any more.
        """
        known = self._facts.get(image) or self._find(image)
        if known is None:
            raise self._not_found(image, "it was removed meanwhile")
        return known

    def named(self, image: str, pull: str, progress: Callable[[str], None], platform: str | None = None) -> ImageFacts:
        """Make the image of a reference available; see `ensure`."""
        facts, before = self._find(image), ""
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
        facts = self._find(image)
        if facts is None:
            raise self._not_found(image, "it was pulled, but is not there")
        if not facts.fits(platform):
            raise self._not_found(image, _other(facts, platform))
        return facts

    def _find(self, image: str) -> ImageFacts | None:
        try:
            with self._pool.client() as client:
                found = client.inspect_image(image)
        except RefusedError as error:
            if error.status == 404:
                return None
            if error.status == 400:
                msg = f"wrong config: image = {image!r}: Docker can't read it as an image's name: {error.words}"
                raise ConfigError(msg) from None
            raise
        config = found.get("Config") or {}
        facts = ImageFacts(
            id=str(found["Id"]),
            architecture=str(found.get("Architecture") or ""),
            user=str(config.get("User") or ""),
            volumes=tuple(config.get("Volumes") or ()),
            platform="/".join(str(found[key]) for key in ("Os", "Architecture", "Variant") if found.get(key)),
        )
        self._facts[facts.id] = facts
        return facts

    def _pull(self, image: str, progress: Callable[[str], None], platform: str | None) -> None:
        progress(f"pulling {image}")
        repository, tag = split_reference(image)
        try:
            with self._pool.client(timeout=PULL_SILENCE) as client:
                client.reload_config()  # a `docker login` since the client was made counts
                for line in follow(client.pull(repository, tag=tag, stream=True, decode=True, platform=platform)):
                    progress(line)
        except (RefusedError, StreamError) as error:
            words = error.words if isinstance(error, RefusedError) else str(error)
            raise self._not_found(image, f"pulling it failed: {words}") from None

    def _not_found(self, image: str, why: str) -> ImageNotFoundError:
        if image.startswith(LOCAL):
            remedy = f"Build it or load it there: `docker build -t {image} DIRECTORY`, `docker load`, or `docker tag`."
        else:
            remedy = (
                "Check its name and tag; for a private one run `docker login`; without a way to the registry load it "
                "with `docker load`, or give image='tar:PATH'."
            )
        return ImageNotFoundError(f"the image {image!r} is not on Docker at {self._pool.address.url}: {why}. {remedy}")


def _other(facts: ImageFacts, platform: str | None) -> str:
    return f"the one there is of {facts.platform}, and {platform} is asked for"


def split_reference(image: str) -> tuple[str, str]:
    """Split an image's reference into what Docker's pull takes: the name, and the tag ("latest") or digest."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, slash, last = image.rpartition("/")
    last, _, tag = last.partition(":")
    return head + slash + last, tag or "latest"
