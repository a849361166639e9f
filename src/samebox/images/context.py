"""BuildContext: the files that a build sends to an engine, without those that .dockerignore leaves out."""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import tarfile
import tempfile
from typing import IO, TYPE_CHECKING, Any, Self

from e2b_dockerfile_utils import PatternMatcher

from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from samebox.config.build import ImageBuild

DOCKERFILE = "Dockerfile"
IGNORE = ".dockerignore"
_MEMORY = 16 << 20


class BuildContext:
    """An archive of a build's files, in memory or on disk, gone at the end of the `with`.

    Times and owners are no content: a checkout at another time has the same digest.

    Args:
        build: The build.

    Raises:
        ConfigError: A file in the directory can't be read, or .dockerignore has a malformed pattern.
    """

    def __init__(self, build: ImageBuild) -> None:
        self.dockerfile = build.file if build.context is not None else DOCKERFILE
        """The Dockerfile's path in the archive."""
        self.ignored: list[str] = []
        """The patterns of the file that says what is left out."""
        self.unwanted: list[str] = []
        """The files that are sent although .dockerignore names them, as the builder needs them; no `COPY` may copy
        them."""
        self.unresolved = False
        """Whether there is a link that does not lead to what is sent."""
        self._digest = hashlib.sha256()
        self._links: list[str] = []
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115 - closed by __exit__
        """The archive, to be read from its beginning."""
        try:
            with tarfile.open(fileobj=self.file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                # BuildKit knows an archive by its first 1024 bytes, in which a long name's headers would not end.
                archive.addfile(_directory("."))
                if build.context is None:
                    self._add_text(archive, build.text)
                else:
                    self._add_tree(archive, build.context)
        except BaseException:
            self.file.close()
            raise
        self.file.seek(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.file.close()

    @property
    def digest(self) -> bytes:
        """A digest of the files' names, kinds, modes and content."""
        return self._digest.digest()

    def _add_text(self, archive: tarfile.TarFile, text: str, name: str = DOCKERFILE) -> None:
        data = text.encode()
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._digest.update(data)
        archive.addfile(info, io.BytesIO(data))

    def _add_tree(self, archive: tarfile.TarFile, directory: Path) -> None:
        try:
            ignore = ignore_file(directory, self.dockerfile)
            self.ignored = _patterns(directory / ignore)
            matcher = PatternMatcher(self.ignored)
            own = ignore != IGNORE
            always = {self.dockerfile} if own else {self.dockerfile, IGNORE}
            self.unwanted = [name for name in sorted(always) if matcher.matches(name)]
            names = [name for name in _names(directory, "", matcher, always) if not own or name != IGNORE]
            for name in names:
                self._add(archive, directory / name, name)
            self.unresolved = not {*names}.issuperset(self._links)
            if own:
                # Docker's daemon reads this one alone, to know which of the two files it has to hide from COPY.
                self.unwanted.append(IGNORE)
                self._add_text(archive, "".join(f"{name}\n" for name in self.unwanted), IGNORE)
        except OSError as error:
            msg = f"wrong config: build: {error.filename!r} in the context can't be read: {error.strerror}"
            raise ConfigError(msg) from None
        except ConfigError:
            raise
        except ValueError as error:
            msg = f"wrong config: build: {ignore} in {str(directory)!r}: {error}"
            raise ConfigError(msg) from None

    def _add(self, archive: tarfile.TarFile, path: Path, name: str) -> None:
        info = archive.gettarinfo(path, name)
        if info is None:  # a socket
            return
        if info.issym():
            self._links.append(_led_to(name, info.linkname))
        info.mtime = int(info.mtime)  # a part of a second takes a header of its own
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        facts: list[Any] = [name, info.type.decode(), info.mode, info.linkname, info.size]
        self._digest.update(json.dumps(facts).encode("utf-8", "surrogateescape") + b"\0")
        if not info.isreg():
            archive.addfile(info)
            return
        with path.open("rb") as file:
            self._digest.update(hashlib.file_digest(file, "sha256").digest())
            file.seek(0)
            archive.addfile(info, file)


def _directory(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def _led_to(name: str, target: str) -> str:
    """Return where a link leads to, as a path in the context; an absolute one is one of the image.

    Raises:
        ConfigError: It leads out of the context, which Podman refuses and Docker does not.
    """
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if path == ".." or path.startswith("../"):
        msg = (
            f"wrong config: build: the link {name!r} leads out of the context, to {target!r}; let it lead to a file in "
            f"the context or to an absolute path of the image, or name it in {IGNORE}"
        )
        raise ConfigError(msg)
    return path


def ignore_file(directory: Path, dockerfile: str) -> str:
    """Return which file of a context says what is left out: the Dockerfile's own, or else the context's.

    Args:
        directory: The context.
        dockerfile: The Dockerfile's path in it.
    """
    names = (f"{dockerfile}{IGNORE}", IGNORE, ".containerignore")
    return next((name for name in names if (directory / name).is_file()), IGNORE)


def _patterns(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _names(directory: Path, below: str, matcher: PatternMatcher, always: set[str]) -> Iterator[str]:
    """Yield the paths that are sent, in a fixed order; those in `always` are sent even if they are ignored."""
    with os.scandir(directory / below) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{below}{entry.name}"
            ignored = matcher.matches(name)
            if not ignored or name in always:
                yield name
            if entry.is_dir(follow_symlinks=False) and (
                not ignored or matcher.may_match_under(name) or any(path.startswith(f"{name}/") for path in always)
            ):
                yield from _names(directory, f"{name}/", matcher, always)
