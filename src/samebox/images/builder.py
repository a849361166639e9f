"""ImageBuilder: builds images on one engine, once for each content; the base for engines with a build API."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

from samebox.config.build import digest
from samebox.engine.images import BUILDS
from samebox.engine.making import making
from samebox.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox.config.build import ImageBuild
    from samebox.config.model import SandboxConfig
    from samebox.images.context import BuildContext

_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])|[\x00-\x08\x0b-\x1f\x7f]")
"""What a step writes for a terminal: colours, titles, cursor movements."""
LAST_LINES = 20
"""How many lines of a step's log a build's error shows."""


class BuildLog:
    """The log of one build: each line goes to the progress, and the last lines of the step at work are kept.

    Args:
        progress: Takes the lines as they come.
        step: Matches the beginning of a line that names a step.
        chatter: The beginnings of lines in which the engine itself speaks between the lines of a step.
    """

    def __init__(self, progress: Callable[[str], None], step: re.Pattern[str], chatter: tuple[str, ...]) -> None:
        self._progress = progress
        self._step, self._chatter = step, chatter
        self.step = ""
        """The step at work, as the engine names it."""
        self._last = deque[str](maxlen=LAST_LINES)
        self._begun = ""

    def add(self, text: str) -> None:
        """Take the next piece of the engine's log; lines may come in several pieces."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in (_CONTROL.sub("", line).rstrip() for each in whole for line in each.splitlines()):
            if not line:
                continue
            if self._step.match(line):
                self.step = line
                self._last.clear()
            elif not line.startswith(self._chatter):
                self._last.append(line)
            self._progress(line)

    def failed(self, engine: str, words: str) -> BuildError:
        """Return the error of a build that failed, with the step at work and the last lines of the step's log.

        Args:
            engine: The engine and its address, as "Docker at unix:///run/docker.sock".
            words: The engine's own words for the failure.
        """
        self.add("\n")
        at = f" at {self.step!r}" if self.step else ""
        said = "".join(f"\n  {line}" for line in self._last)
        return BuildError(f"{engine} could not build the image{at}: {_CONTROL.sub('', words).strip()}{said}")


class ImageBuilder(ABC):
    """Builds images on one engine.

    Args:
        engine: The engine and its address, for errors: "Docker at unix:///run/docker.sock".
    """

    step: re.Pattern[str]
    """Matches the beginning of a log's line that names a step."""
    chatter: tuple[str, ...]
    """The beginnings of lines in which the engine itself speaks between the lines of a step."""

    def __init__(self, engine: str) -> None:
        self.engine = engine

    @abstractmethod
    def check(self, build: ImageBuild) -> None:
        """Refuse what the engine's builder can't do, before anything else.

        Args:
            build: What to build.

        Raises:
            UnsupportedError: The builder can't do it; see `samebox.images.syntax.check_needs`.
            ConfigError: The Dockerfile can't be read.
        """

    @abstractmethod
    def find(self, name: str) -> str | None:
        """Return an image's id; None if the engine has no image of that name."""

    @abstractmethod
    def base(self, image: str, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Make a build's base image available, as the config's `pull` and `platform` say; return the image's id.

        Raises:
            ImageNotFoundError: The image is not on the engine, and the engine can't get it.
        """

    @abstractmethod
    def run(self, config: SandboxConfig, name: str, context: BuildContext, log: BuildLog, *, fresh: bool) -> None:
        """Build an image whose base images are all there. A call that raises leaves nothing behind.

        Args:
            config: The config, with `build` and `platform`.
            name: The name that the image gets.
            context: The files to send.
            log: Takes the engine's log.
            fresh: Whether no step of another build may be used again.

        Raises:
            BuildError: A step failed; made by `log.failed`.
        """

    @abstractmethod
    def tag(self, image: str, name: str) -> None:
        """Give an image another name.

        Args:
            image: The image's id.
            name: The other name, with a tag or without.
        """

    def build(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Build the config's image unless an image of the same content and the same base images exists; return its id.

        Of two processes of this user that build the same image at once, one process waits for the other.

        Args:
            config: The config, with `build`.
            progress: Takes the lines of the build's log as they come.

        Raises:
            BuildError: A step failed, or the engine can't read the Dockerfile.
            ImageNotFoundError: A base image is not on the engine, and the engine can't get it.
            ConfigError: A file in the context can't be read.
            UnsupportedError: The Dockerfile asks for what the engine's builder can't do.
        """
        from samebox.images.context import BuildContext  # noqa: PLC0415 - a Dockerfile's parser, for builds alone

        build = config.build
        assert build is not None  # noqa: S101 - only a config with a build gets here
        self.check(build)
        runtime = build.runtime
        fresh = runtime is not None and not runtime.cache
        with BuildContext(build) as context:
            bases = [self.base(image, config, progress) for image in _bases(build)]
            settings = json.dumps([sorted(build.args.items()), build.target, config.platform, bases]).encode()
            tag = digest(build.text.encode(), settings, context.digest)[:40]
            name = f"{BUILDS}:{tag}"
            with making(digest(self.engine.encode(), tag.encode())[:40], progress):
                found = None if fresh else self.find(name)
                if found is None:
                    self.run(config, name, context, BuildLog(progress, self.step, self.chatter), fresh=fresh)
                    found = self.find(name)
        if found is None:
            msg = f"{self.engine} ended the build of the image {name!r} without an error, but does not have it"
            raise BuildError(msg)
        wanted = build.tag or (runtime.image if runtime is not None else None)
        if wanted is not None:
            self.tag(found, wanted)
        return found


def _bases(build: ImageBuild) -> tuple[str, ...]:
    from samebox.images.dockerfile import base_images  # noqa: PLC0415

    try:
        return base_images(build.text, build.args)
    except ValueError:
        return ()  # the engine refuses a Dockerfile that can't be read, in its own words
