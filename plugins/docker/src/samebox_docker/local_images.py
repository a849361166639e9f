"""LocalImages: `tar:PATH` and `dir:PATH`, brought to the daemon once for each content."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.refusal import RefusedError
from samebox.errors import ConfigError, EngineError, ImageNotFoundError, SandboxError
from samebox_docker import tar_stream
from samebox_docker.progress import StreamError, follow, parse_lines
from samebox_docker.saved_image import SavedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from samebox_docker.clients import ClientPool

ARCHIVES = "localhost/samebox-tar"
"""Images made from archives; the tag is the archive's digest."""
DIRECTORIES = "localhost/samebox-dir"
"""Images made from directories; the tag stands for the path."""
CONTENT = "samebox.content"
"""The label with the fingerprint of the directory that an image was made from."""
LOAD_TIMEOUT = 3600.0
"""How long the daemon may take for an archive, in seconds."""
_CHUNK = 1 << 20


class LocalImages:
    """Images from this host's files.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self._digests: dict[tuple[str, int, int, int, int], str] = {}

    def archive(self, path: str, progress: Callable[[str], None]) -> str:
        """Load or import an archive, unless the daemon has one of the same digest already.

        Args:
            path: A root file system as tar (maybe compressed), or what `docker save` writes, or an OCI archive;
                with one image in it.
            progress: Is told of each step.

        Returns:
            The image's name on the daemon.

        Raises:
            ImageNotFoundError: There is no such file, or it can't be read.
            ConfigError: It is no such archive, or has several images.
        """
        what = f"tar:{path}"
        file = Path(path).expanduser().absolute()
        if not file.is_file():
            hint = f"; it is a directory: write image='dir:{path}'" if file.is_dir() else ""
            raise ImageNotFoundError(
                f"the image {what!r} is an archive on this host, but there is no file {file}{hint}"
            )
        with _reading(what):
            tag = self._digest(file)[:40]
            name = f"{ARCHIVES}:{tag}"
            if self._inspect(name) is not None:
                return name
            progress(f"bringing {file} to Docker")
            with tarfile.open(file) as archive:
                saved = SavedImage.find(archive, self._architecture())
                if saved is not None:
                    with self._accepting(what), self._pool.client(timeout=LOAD_TIMEOUT) as client:
                        for line in follow(client.load_image(_passing(what, saved.stream(archive, name)))):
                            progress(line)
                    return name
            with file.open("rb") as content:
                self._import(what, iter(lambda: content.read(_CHUNK), b""), ARCHIVES, tag)
        return name

    def directory(self, path: str, progress: Callable[[str], None]) -> str:
        """Import a directory as a root file system, unless it was imported and nothing in it has changed since.

        Args:
            path: The directory.
            progress: Is told of each step.

        Returns:
            The image's name on the daemon.

        Raises:
            ImageNotFoundError: There is no such directory, or something in it can't be read.
        """
        what = f"dir:{path}"
        root = Path(path).expanduser().absolute()
        if not root.is_dir():
            hint = f"; it is a file: write image='tar:{path}'" if root.is_file() else ""
            raise ImageNotFoundError(
                f"the image {what!r} is a directory on this host, but there is none at {root}{hint}"
            )
        with _reading(what):
            content = tar_stream.fingerprint(root)
            tag = hashlib.sha256(bytes(root)).hexdigest()[:40]
            name = f"{DIRECTORIES}:{tag}"
            before = self._inspect(name)
            if before is not None and ((before.get("Config") or {}).get("Labels") or {}).get(CONTENT) == content:
                return name
            progress(f"bringing {root} to Docker")
            self._import(what, tar_stream.tree(root), DIRECTORIES, tag, f"LABEL {CONTENT}={content}")
        if before is not None:
            # Refused while a sandbox uses it: then it stays without a name, where `docker image prune` finds it.
            with contextlib.suppress(RefusedError), self._pool.client() as client:
                client.remove_image(str(before["Id"]))
        return name

    def _digest(self, file: Path) -> str:
        status = file.stat()
        key = str(file), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if key not in self._digests:
            with file.open("rb") as content:
                self._digests[key] = hashlib.file_digest(content, "sha256").hexdigest()
        return self._digests[key]

    def _architecture(self) -> str:
        with self._pool.client() as client:
            return str(client.version(api_version=False).get("Arch"))

    def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            with self._pool.client() as client:
                return dict(client.inspect_image(name))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def _import(self, what: str, data: Iterable[bytes], repository: str, tag: str, *changes: str) -> None:
        with self._accepting(what):
            with self._pool.client() as client:
                answer = client.import_image_from_data(
                    _passing(what, data), repository=repository, tag=tag, changes=list(changes)
                )
            for _ in follow(parse_lines(answer)):
                pass

    @contextlib.contextmanager
    def _accepting(self, what: str) -> Iterator[None]:
        try:
            yield
        except (RefusedError, StreamError) as error:
            words = error.words if isinstance(error, RefusedError) else str(error)
            raise EngineError(
                f"Docker at {self._pool.address.url} did not accept the image {what!r}: {words}"
            ) from None


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except SandboxError:
        raise
    except OSError as error:
        raise ImageNotFoundError(
            f"the image {what!r} can't be read: {error.strerror}: {error.filename!r}. Give one that this user may read."
        ) from None
    except (tarfile.TarError, KeyError, ValueError, TypeError, EOFError) as error:
        raise ConfigError(
            f"wrong config: image = {what!r}: it is no root file system, `docker save` or OCI archive that can be "
            f"read: {error}"
        ) from None


def _passing(what: str, data: Iterable[bytes]) -> Iterator[bytes]:
    """Hand data on; the HTTP client would take an OSError in here for one of its connection."""
    with _reading(what):
        yield from data
