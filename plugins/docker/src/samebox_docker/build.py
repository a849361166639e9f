"""DockerBuilder: images made on the daemon by its build API."""

from __future__ import annotations

import contextlib
import re
import time
from typing import IO, TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.engine.labels import MADE
from samebox.engine.oci.made_images import note_use
from samebox.engine.oci.refusal import RefusedError
from samebox.errors import UnsupportedError
from samebox.images.builder import ImageBuilder
from samebox.images.syntax import CHMOD, HEREDOC, LINK, MOUNT, check_needs, needs
from samebox_docker.buildkit import progress, without_frontend
from samebox_docker.progress import StreamError, objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from samebox.config.build import ImageBuild
    from samebox.config.model import SandboxConfig
    from samebox.images.builder import BuildLog
    from samebox.images.context import BuildContext
    from samebox_docker.clients import ClientPool
    from samebox_docker.images import Images

_BUILDKIT, _HEREDOCS = (20, 10), (23, 0)
"""The first versions whose BuildKit knows mounts and modes without fetching a frontend, and here-documents."""
TIMEOUT = 3600.0
"""How long a step may be silent, in seconds."""
_CANCELLED = 10.0
"""How long the daemon may take to remove the container of a build that nobody listens to any more, in seconds."""
_IMAGE = re.compile(r"^ ---> ([0-9a-f]{12})$", re.MULTILINE)


class DockerBuilder(ImageBuilder):
    """Builds on one daemon.

    Args:
        pool: Clients of the daemon.
        images: The images of the same daemon.
    """

    step = re.compile("Step ")
    chatter = ("Removing intermediate container ", " ---> ")

    def __init__(self, pool: ClientPool, images: Images) -> None:
        super().__init__(pool.engine)
        self._pool = pool
        self._images = images

    def check(self, build: ImageBuild) -> None:
        """Refuse what the daemon's builders can't do; see `samebox.images.builder.ImageBuilder.check`."""
        if not needs(build.text):
            return
        with self._pool.client() as client:
            version = str(client.version(api_version=False).get("Version") or "")
        numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
        lacking = {HEREDOC, LINK} if numbers < _HEREDOCS else set()
        lacking |= {MOUNT, CHMOD} if numbers < _BUILDKIT else set()
        check_needs(build, lacking, engine="docker", builder=f"Docker {version}")

    def find(self, name: str) -> str | None:
        """Return an image's id; None if it is not there."""
        facts = self._images.find(name)
        return None if facts is None else facts.id

    def base(self, image: str, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Make an image available that a build begins with; see `samebox.images.builder.ImageBuilder.base`."""
        facts = self._images.named(image, config.pull, progress, config.platform)
        note_use(facts)
        return facts.id

    def run(self, config: SandboxConfig, name: str, context: BuildContext, log: BuildLog, *, fresh: bool) -> None:
        """Build an image; see `samebox.images.builder.ImageBuilder.run`."""
        build = config.build
        assert build is not None  # noqa: S101 - what else is built
        before = self._everything()
        said: list[str] = []
        modern = bool(needs(build.text))
        try:
            with (
                _archive(context, modern=modern) as file,
                self._pool.client(timeout=TIMEOUT) as client,
                _builder(client, modern=modern),
            ):
                answers = client.build(
                    fileobj=file,
                    custom_context=True,
                    dockerfile=context.dockerfile,
                    tag=name,
                    buildargs=dict(build.args),
                    target=build.target,
                    labels={MADE: "build"},
                    platform=config.platform,
                    # The old builder's cache does not tell such links apart: the image would have another build's.
                    nocache=fresh or (context.unresolved and not modern),
                    rm=True,
                    forcerm=True,
                    timeout=TIMEOUT,
                    decode=True,
                    # The proxies of the command line's config.json may have a password, which is no build's business.
                    use_config_proxy=False,
                )
                for text in progress(objects(answers)) if modern else _texts(answers):
                    said.extend(_IMAGE.findall(text))
                    log.add(text)
        except BaseException as error:
            self._discard(before, said)
            if isinstance(error, RefusedError):
                raise log.failed(self.engine, error.words) from None
            raise
        if config.platform is not None and not (facts := self._images.facts(name)).fits(config.platform):
            with self._pool.client() as client:
                client.remove_image(name)
            reason = (
                f"what is built FROM scratch is of the daemon's own platform, {facts.platform}, not {config.platform}"
            )
            raise UnsupportedError(Capability.PLATFORM, "docker", reason)

    def tag(self, image: str, name: str) -> None:
        """Give an image another name."""
        self._images.tag(image, name)

    def _everything(self) -> set[str]:
        with self._pool.client() as client:
            return set(client.images(all=True, quiet=True))

    def _discard(self, before: set[str], said: list[str]) -> None:
        """Remove what the steps before the failed one have made, which Docker keeps.

        A step can print what looks like Docker's word for an image it made. So nothing counts that was there before, or
        has a name. The daemon takes a moment to remove the container of a build that nobody listens to any more.

        Args:
            before: The images before the build.
            said: The beginnings of ids that were read, a parent's before its child's.
        """
        deadline = time.monotonic() + _CANCELLED
        while made := self._nameless(self._everything() - before, said):
            for image in made:
                with contextlib.suppress(RefusedError), self._pool.client() as client:
                    client.remove_image(image, noprune=True)
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def _nameless(self, images: set[str], said: list[str]) -> list[str]:
        found = {image.removeprefix("sha256:")[:12]: image for image in images}
        nameless = []
        for image in dict.fromkeys(found[each] for each in reversed(said) if each in found):
            with contextlib.suppress(RefusedError), self._pool.client() as client:
                if not client.inspect_image(image)["RepoTags"]:
                    nameless.append(image)
        return nameless


@contextlib.contextmanager
def _archive(context: BuildContext, *, modern: bool) -> Iterator[IO[bytes]]:
    """Give the archive to send."""
    file = without_frontend(context.file, context.dockerfile) if modern else context.file
    try:
        yield file
    finally:
        if file is not context.file:
            file.close()


@contextlib.contextmanager
def _builder(client: Any, *, modern: bool) -> Iterator[None]:
    """Have a client's calls ask for BuildKit, which docker-py has no argument for."""
    client.params = {"version": "2"} if modern else {}
    try:
        yield
    finally:
        client.params = {}


def _texts(answers: Iterable[dict[str, Any]]) -> Iterator[str]:
    for answer in objects(answers):
        if error := answer.get("error"):
            raise StreamError(str(error))
        yield str(answer.get("stream") or "") or f"{answer.get('status') or ''}\n"
