"""Docker's archive calls: what a path in a container is and holds, taken with care, as the sandbox is hostile."""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.path_stat import HEADER, parse_path_stat
from samebox.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import Response

    from samebox.engine.oci.path_stat import PathStat
    from samebox_docker.clients import ClientPool

_BLOCK = tarfile.BLOCKSIZE


def path_state(pool: ClientPool, container: str, path: str) -> PathStat | None:
    """Return what a path is, or None if nothing is there.

    It takes a twentieth of the time that reading takes (2 ms against 45, measured on Docker 20.10). docker-py has no
    call for it. https://docs.docker.com/reference/api/engine/ (ContainerArchiveInfo)
    """
    with pool.client() as client:
        response = client.head(_url(client, container), params={"path": path}, timeout=client.timeout)
        if response.status_code == 404:
            return None
        response.raise_for_status()
    return parse_path_stat(response.headers.get(HEADER, ""))


def read_header(pool: ClientPool, container: str, path: str) -> tarfile.TarInfo:
    """Return the tar header of a path: its type, owner and mode. The content is not read."""
    with _reading(pool, container, path) as response:
        return _header(_take(response, _BLOCK))


def read_file(pool: ClientPool, container: str, path: str, limit: int) -> bytes:
    """Return the content of a regular file, or the first `limit` bytes of it; a link leads where it does inside.

    Raises:
        RefusedError: There is no such path.
        EngineError: It is no regular file.
    """
    for _ in range(2):
        with _reading(pool, container, path) as response:
            if target := parse_path_stat(response.headers.get(HEADER, "")).target:
                path = target
                continue
            header = _header(data := _take(response, _BLOCK + limit))
        if header.isreg():
            return data[_BLOCK : _BLOCK + min(header.size, limit)]
        break
    msg = f"{path!r} in the container is no regular file"
    raise EngineError(msg)


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a tar archive of a few small entries."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def change_directory(pool: ClientPool, container: str, path: str, *, uid: int, gid: int, mode: int) -> None:
    """Set the owner and mode of a directory in a container that is not running; what is in it stays as it is."""
    parent, _, name = path.rpartition("/")
    entry = tarfile.TarInfo(name)
    entry.type, entry.uid, entry.gid, entry.mode, entry.mtime = tarfile.DIRTYPE, uid, gid, mode, int(time.time())
    with pool.client() as client:
        client.put_archive(container, parent or "/", tar_of((entry, b"")))


def _url(client: Any, container: str) -> str:
    return f"{client.base_url}/v{client.api_version}/containers/{container}/archive"


@contextlib.contextmanager
def _reading(pool: ClientPool, container: str, path: str) -> Iterator[Response]:
    # docker-py's get_archive hands out a generator that leaves the rest of the answer open when it is given up.
    query, headers = {"path": path}, {"Accept-Encoding": "identity"}
    with (
        pool.client() as client,
        client.get(
            _url(client, container), params=query, headers=headers, stream=True, timeout=client.timeout
        ) as response,
    ):
        response.raise_for_status()
        yield response


def _take(response: Response, size: int) -> bytes:
    data = bytearray()
    for chunk in response.iter_content(64 << 10):
        data += chunk[: size - len(data)]
        if len(data) >= size:
            break
    return bytes(data)


def _header(data: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(data[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        msg = f"Docker answered with an archive that can't be read: {error}"
        raise EngineError(msg) from None
