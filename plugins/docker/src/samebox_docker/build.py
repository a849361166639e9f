"""Builds: images made on the daemon from a Dockerfile or a Runtime, once for each content."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from docker.utils.build import exclude_paths

from samebox.build import digest
from samebox.errors import BuildError, ConfigError
from samebox_docker.failure import RefusedError
from samebox_docker.images import split_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox.build import ImageBuild
    from samebox_docker.clients import ClientPool

REPOSITORY = "localhost/samebox-build"
"""Images that were built; the tag is the content's digest."""
TIMEOUT = 3600.0
"""How long a step may be silent, in seconds."""
LAST_LINES = 20
"""How many lines of the log an error has."""
_DOCKERFILE = "Dockerfile"
_MEMORY = 16 << 20
_STEP = "Step "
_CHATTER = ("Removing intermediate container ", " ---> ")
"""What Docker itself says between the lines of a step."""


class Builds:
    """Builds on one daemon.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool

    def build(self, build: ImageBuild, progress: Callable[[str], None]) -> str:
        """Build an image unless the daemon has one of the same content; return its id.

        Of two processes of this user that build the same at once, one waits for the other.

        Args:
            build: What to build.
            progress: Takes the lines of the build's log as they come.

        Raises:
            BuildError: A step failed, or Docker can't read the Dockerfile.
            ConfigError: Something in the context can't be read.
        """
        runtime = build.runtime
        again = runtime is not None and not runtime.cache
        with tempfile.SpooledTemporaryFile(max_size=_MEMORY) as context:
            content = _write_context(build, context)
            settings = json.dumps([sorted(build.args.items()), build.target]).encode()
            tag = digest(build.text.encode(), settings, content)[:40]
            name = f"{REPOSITORY}:{tag}"
            with _lock(digest(self._pool.address.url.encode(), tag.encode())[:40], progress):
                found = None if again else self._find(name)
                if found is None:
                    context.seek(0)
                    self._run(build, name, context, progress, again=again)
                    found = self._find(name)
            if found is None:
                msg = f"Docker at {self._pool.address.url} built the image {name!r}, but does not have it"
                raise BuildError(msg)
            wanted = build.tag or (runtime.image if runtime is not None else None)
            if wanted is not None:
                repository, word = split_reference(wanted)
                with self._pool.client() as client:
                    client.tag(found, repository, word, force=True)
        return found

    def _run(self, build: ImageBuild, name: str, context: Any, progress: Callable[[str], None], *, again: bool) -> None:
        step, log = "", deque[str](maxlen=LAST_LINES)
        try:
            with self._pool.client(timeout=TIMEOUT) as client:
                for answer in client.build(
                    fileobj=context,
                    custom_context=True,
                    dockerfile=_dockerfile(build),
                    tag=name,
                    buildargs=dict(build.args),
                    target=build.target,
                    nocache=again,
                    rm=True,
                    forcerm=True,
                    timeout=TIMEOUT,
                    decode=True,
                ):
                    if error := answer.get("error"):
                        raise self._failed(step, log, str(error))
                    for line in str(answer.get("stream") or answer.get("status") or "").splitlines():
                        if not line.strip():
                            continue
                        if line.startswith(_STEP):
                            step = line
                            log.clear()
                        elif not line.startswith(_CHATTER):
                            log.append(line)
                        progress(line)
        except RefusedError as error:
            raise self._failed(step, log, error.words) from None

    def _failed(self, step: str, log: deque[str], words: str) -> BuildError:
        at = f" at {step!r}" if step else ""
        said = "".join(f"\n  {line}" for line in log)
        return BuildError(f"Docker at {self._pool.address.url} could not build the image{at}: {words}{said}")

    def _find(self, name: str) -> str | None:
        try:
            with self._pool.client() as client:
                return str(client.inspect_image(name)["Id"])
        except RefusedError as error:
            if error.status == 404:
                return None
            raise


def _dockerfile(build: ImageBuild) -> str:
    return (build.dockerfile or _DOCKERFILE) if build.context is not None else _DOCKERFILE


def _write_context(build: ImageBuild, out: Any) -> bytes:
    """Write what is sent to the daemon, without what .dockerignore leaves out, and return a digest of it.

    Times and owners are no content: a checkout at another time is the same image.
    """
    found = hashlib.sha256()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        if build.context is None:
            info = tarfile.TarInfo(_DOCKERFILE)
            data = build.text.encode()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
            return b""
        try:
            for name in sorted(exclude_paths(str(build.context), _ignored(build.context), _dockerfile(build))):
                _add(archive, build.context / name, name, found)
        except OSError as error:
            msg = f"wrong config: build: {error.filename!r} in the context can't be read: {error.strerror}"
            raise ConfigError(msg) from None
    return found.digest()


def _add(archive: tarfile.TarFile, path: Path, name: str, found: Any) -> None:
    info = archive.gettarinfo(path, name)
    if info is None:  # a socket
        return
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    facts = [name, info.type.decode(), info.mode, info.linkname, info.size]
    found.update(json.dumps(facts).encode("utf-8", "surrogateescape") + b"\0")
    if not info.isreg():
        archive.addfile(info)
        return
    with path.open("rb") as file:
        found.update(_digest_of(file))
        file.seek(0)
        archive.addfile(info, file)


def _digest_of(file: IO[bytes]) -> bytes:
    return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]


def _ignored(context: Path) -> list[str]:
    try:
        lines = (context / ".dockerignore").read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@contextlib.contextmanager
def _lock(key: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock among the processes of this user on this host."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "samebox", "builds")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / f"docker-{key}.lock").open("w")
    except OSError:  # no home: two builds at once are only wasteful
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process builds the same image; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
