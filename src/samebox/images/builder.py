"""ImageBuilder: builds on one engine, once for each content; what engines with a build API of their own share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING

from samebox.config.build import digest
from samebox.errors import BuildError

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

    from samebox.config.build import ImageBuild
    from samebox.config.model import SandboxConfig
    from samebox.images.context import BuildContext

REPOSITORY = "localhost/samebox-build"
"""Images that were built; the tag is the content's digest."""
LAST_LINES = 20
"""How many lines of a step's log an error has."""


class BuildLog:
    """The log of one build: each line goes to the progress, and the last ones of the step at work are kept.

    Args:
        progress: Takes the lines as they come.
        step: What the line begins with that names a step.
        chatter: What lines begin with that the engine itself says between those of a step.
    """

    def __init__(self, progress: Callable[[str], None], step: re.Pattern[str], chatter: tuple[str, ...]) -> None:
        self._progress = progress
        self._step, self._chatter = step, chatter
        self.step = ""
        """The step at work, as the engine names it."""
        self._last = deque[str](maxlen=LAST_LINES)
        self._begun = ""

    def add(self, text: str) -> None:
        """Take what the engine said next; its lines may come in pieces."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in (line.rstrip() for each in whole for line in each.splitlines()):
            if not line:
                continue
            if self._step.match(line):
                self.step = line
                self._last.clear()
            elif not line.startswith(self._chatter):
                self._last.append(line)
            self._progress(line)

    def failed(self, engine: str, words: str) -> BuildError:
        """Return the error of a build that failed, with the step and the last lines of its log.

        Args:
            engine: Which one and where, as "Docker at unix:///run/docker.sock".
            words: What it said.
        """
        self.add("\n")
        at = f" at {self.step!r}" if self.step else ""
        said = "".join(f"\n  {line}" for line in self._last)
        return BuildError(f"{engine} could not build the image{at}: {words.strip()}{said}")


class ImageBuilder(ABC):
    """Builds on one engine.

    Args:
        engine: Which one and where, for errors: "Docker at unix:///run/docker.sock".
    """

    step: re.Pattern[str]
    """What the line of a log begins with that names a step."""
    chatter: tuple[str, ...]
    """What lines begin with that the engine itself says between those of a step."""

    def __init__(self, engine: str) -> None:
        self.engine = engine

    @abstractmethod
    def find(self, name: str) -> str | None:
        """Return an image's id; None if it is not there."""

    @abstractmethod
    def base(self, image: str, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Make an image available that a build begins with, as the config's `pull` and `platform` say; return its id.

        Raises:
            ImageNotFoundError: It is not there and can't be had.
        """

    @abstractmethod
    def run(self, config: SandboxConfig, name: str, context: BuildContext, log: BuildLog, *, fresh: bool) -> None:
        """Build an image of that name; every base is there. Nothing is left behind when this raises.

        Args:
            config: Has `build` and `platform`.
            name: The name that it gets.
            context: What to send.
            log: Takes what the engine says.
            fresh: Whether no step of another build may be used again.

        Raises:
            BuildError: A step failed; made by `log.failed`.
        """

    @abstractmethod
    def tag(self, image: str, name: str) -> None:
        """Give an image another name.

        Args:
            image: Its id.
            name: With a tag or without.
        """

    def build(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Build the config's image unless there is one of the same content, made from the same bases; return its id.

        Of two processes of this user that build the same at once, one waits for the other.

        Args:
            config: Has what to build.
            progress: Takes the lines of the build's log as they come.

        Raises:
            BuildError: A step failed, or the engine can't read the Dockerfile.
            ImageNotFoundError: A base is not there and can't be had.
            ConfigError: Something in the context can't be read.
        """
        from samebox.images.context import BuildContext  # noqa: PLC0415 - a Dockerfile's parser, for builds alone

        build = config.build
        assert build is not None  # noqa: S101 - what else was asked for
        runtime = build.runtime
        fresh = runtime is not None and not runtime.cache
        with BuildContext(build) as context:
            bases = [self.base(image, config, progress) for image in _bases(build)]
            settings = json.dumps([sorted(build.args.items()), build.target, config.platform, bases]).encode()
            tag = digest(build.text.encode(), settings, context.digest)[:40]
            name = f"{REPOSITORY}:{tag}"
            with _lock(digest(self.engine.encode(), tag.encode())[:40], progress):
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
        return ()  # what can't be read here the engine refuses in its own words


@contextlib.contextmanager
def _lock(key: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock among the processes of this user on this host; its file goes with it."""
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "samebox", "builds")
    path = directory / f"{key}.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = _locked(path, progress)
    except OSError:  # no home: two builds at once are only wasteful
        yield
        return
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, progress: Callable[[str], None]) -> IO[str]:
    while True:
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process builds the same image; waiting for it")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except BaseException:
                lock.close()
                raise
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return lock
        lock.close()  # its holder has removed the file meanwhile
