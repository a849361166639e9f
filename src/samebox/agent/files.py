"""AgentFiles: the file operations inside a sandbox, through its agent."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, TypeVar

from samebox.agent.caller import AgentCaller
from samebox.agent.frames import STDOUT
from samebox.agent.listing import Listing, file_info
from samebox.agent.names import component, link_target, relative_path, resolved_path
from samebox.agent.output import Collector, Pipe
from samebox.agent.packer import TreePacker
from samebox.agent.records import Record, decode_path, encode_path
from samebox.agent.tree import TreeUnpacker
from samebox.errors import ConnectionLostError, ProtocolError
from samebox.guest.arguments import content
from samebox.guest.files import Files
from samebox.guest.operation import Blocking, timed
from samebox.guest.results import GrepMatch, GrepMatches, TreeCount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from samebox.agent.caller import Connections
    from samebox.agent.records import Field
    from samebox.guest.arguments import Timeout
    from samebox.guest.files import Path, Progress
    from samebox.guest.results import FileInfo

    T = TypeVar("T")

(
    READ,
    WRITE,
    STAT,
    LIST,
    MAKE_DIR,
    REMOVE,
    MOVE,
    COPY,
    CHMOD,
    REALPATH,
    SYMLINK,
    READLINK,
    WALK,
    GREP,
    PACK,
    UNPACK,
) = range(10, 26)
_CUT = 1
"""READ's flag: what is more than the limit stays unread, and is no error."""
DOWNLOAD_LIMIT = 4 << 30
"""The default of the most bytes of one download that the host takes from a sandbox."""
_WINDOW = 4 << 20
"""The window for transfers, where waiting for credit would cost more than the memory of a large window."""


class AgentFiles(AgentCaller, Files):
    """File operations through a sandbox's agent.

    Args:
        connections: Hands out the connections to the agents.
        file_limit: The largest file that one call reads, in bytes.
        root: The directory that the operations are confined to, or None.
    """

    def __init__(self, connections: Connections, file_limit: int, root: bytes | None = None) -> None:
        super().__init__(connections, root)
        self._file_limit = file_limit

    def _fields(self, path: Path, *fields: Field) -> list[Field]:
        confined: list[Field] = [("root", self._root)] if self._root is not None else []
        return [("path", encode_path(os.fspath(path))), *confined, *fields]

    async def _do(self, operation: int, path: Path, *fields: Field, input: bytes | None = None) -> Record:  # noqa: A002
        return await self._end(await self._begin(operation, self._fields(path, *fields), {}, input=input), path)

    async def _items(
        self, operation: int, path: Path, make: Callable[[Record], T], *fields: Field, most: int | None = None
    ) -> list[T]:
        sink = Listing(make, most)
        await self._end(await self._begin(operation, self._fields(path, *fields), {STDOUT: sink}), path)
        return sink.result()

    @timed()
    async def read_bytes(
        self,
        path: Path,
        *,
        offset: int = 0,
        length: int | None = None,
        limit: int | None = None,
        timeout: Timeout = None,
    ) -> bytes:
        """See `Files.read_bytes`."""
        most = self._file_limit if limit is None else limit
        fields = self._fields(path)
        if offset or length is not None:
            if offset < 0 or (length is not None and not 0 <= length <= most):
                accepted = f"offset is a number from 0, and length one from 0 to the limit of {most}"
                msg = f"{accepted}, not {offset!r} and {length!r}"
                raise ValueError(msg)
            fields += [("offset", offset), ("flags", 0 if length is None else _CUT)]
            most = most if length is None else length
        sink = Collector(most)
        call = await self._begin(READ, [*fields, ("limit", most)], {STDOUT: sink}, window=_WINDOW)
        await self._end(call, path)
        data = sink.data
        if sink.truncated:
            msg = f"the agent sent more than the {most} bytes that were asked for"
            raise ProtocolError(msg)
        return data

    @timed(changes=True)
    async def write_bytes(
        self, path: Path, data: bytes, *, mode: int | None = None, exclusive: bool = False, timeout: Timeout = None
    ) -> int:
        """See `Files.write_bytes`."""
        return await self._write(path, content(data), 2 if exclusive else 0, mode)

    @timed(changes=True)
    async def append(self, path: Path, data: bytes | str, *, mode: int | None = None, timeout: Timeout = None) -> int:
        """See `Files.append`."""
        return await self._write(
            path, data.encode("utf-8", "surrogateescape") if isinstance(data, str) else content(data), 1, mode
        )

    async def _write(self, path: Path, data: bytes, flags: int, mode: int | None) -> int:
        fields: list[Field] = [("flags", flags), ("size", len(data))]
        if mode is not None:
            fields.append(("mode", mode))
        return (await self._do(WRITE, path, *fields, input=data)).number("size")

    @timed()
    async def stat(self, path: Path, *, follow: bool = True, timeout: Timeout = None) -> FileInfo:
        """See `Files.stat`."""
        record = await self._do(STAT, path, ("flags", int(follow)))
        return file_info(record, decode_path(encode_path(os.fspath(path))))

    @timed()
    async def list_dir(self, path: Path = ".", *, timeout: Timeout = None) -> list[FileInfo]:
        """See `Files.list_dir`."""
        return await self._items(LIST, path, lambda record: file_info(record, component(record.data("name"))))

    @timed()
    async def walk(self, path: Path = ".", *, depth: int | None = None, timeout: Timeout = None) -> list[FileInfo]:
        """See `Files.walk`."""
        fields: list[Field] = [("depth", depth)] if depth is not None else []
        return await self._items(
            WALK, path, lambda record: file_info(record, relative_path(record.data("name"))), *fields
        )

    @timed()
    async def glob(self, pattern: str, path: Path = ".", *, timeout: Timeout = None) -> list[str]:
        """See `Files.glob`."""
        return await self._items(
            WALK, path, lambda record: relative_path(record.data("name")), ("pattern", encode_path(pattern))
        )

    @timed()
    async def grep(
        self,
        pattern: str,
        path: Path = ".",
        *,
        include: Sequence[str] = (),
        ignore_case: bool = False,
        fixed: bool = False,
        limit: int = 1000,
        timeout: Timeout = None,
    ) -> GrepMatches:
        """See `Files.grep`."""
        if limit < 0:
            msg = f"limit is a number of matches from 0, not {limit!r}"
            raise ValueError(msg)
        fields: list[Field] = [
            ("pattern", encode_path(pattern)),
            ("ignore_case", int(ignore_case)),
            ("fixed", int(fixed)),
            ("limit", limit + 1),
        ]
        asked = decode_path(encode_path(os.fspath(path)))

        def match(record: Record) -> GrepMatch:
            name = record.data("name")  # empty if `path` is a file
            text = decode_path(record.data("text"))
            return GrepMatch(relative_path(name) if name else asked, record.number("line"), text)

        fields += (("include", encode_path(glob)) for glob in include)
        found = await self._items(GREP, path, match, *fields, most=limit + 1)
        return GrepMatches(found[:limit], truncated=len(found) > limit)

    @timed(changes=True)
    async def make_dir(
        self,
        path: Path,
        *,
        parents: bool = True,
        exist_ok: bool = True,
        mode: int | None = None,
        timeout: Timeout = None,
    ) -> None:
        """See `Files.make_dir`."""
        await self._do(MAKE_DIR, path, ("flags", parents + 2 * exist_ok), ("mode", 0o755 if mode is None else mode))

    @timed(changes=True)
    async def remove(
        self, path: Path, *, recursive: bool = False, missing_ok: bool = False, timeout: Timeout = None
    ) -> None:
        """See `Files.remove`."""
        await self._do(REMOVE, path, ("flags", recursive + 2 * missing_ok))

    @timed(changes=True)
    async def move(self, path: Path, destination: Path, *, replace: bool = True, timeout: Timeout = None) -> None:
        """See `Files.move`."""
        await self._do(MOVE, path, ("destination", encode_path(os.fspath(destination))), ("flags", int(replace)))

    @timed(changes=True)
    async def copy(self, path: Path, destination: Path, *, replace: bool = True, timeout: Timeout = None) -> None:
        """See `Files.copy`."""
        await self._do(COPY, path, ("destination", encode_path(os.fspath(destination))), ("flags", 1 + 2 * replace))

    @timed(changes=True)
    async def chmod(self, path: Path, mode: int, *, recursive: bool = False, timeout: Timeout = None) -> None:
        """See `Files.chmod`."""
        await self._do(CHMOD, path, ("flags", int(recursive)), ("mode", mode))

    @timed()
    async def realpath(self, path: Path, *, timeout: Timeout = None) -> str:
        """See `Files.realpath`."""
        record = await self._do(REALPATH, path)
        return resolved_path(record.data("path"), confined=self._root is not None)

    @timed()
    async def read_link(self, path: Path, *, timeout: Timeout = None) -> str:
        """See `Files.read_link`."""
        return link_target((await self._do(READLINK, path)).data("target"))

    @timed(changes=True)
    async def symlink(self, target: Path, path: Path, *, replace: bool = False, timeout: Timeout = None) -> None:
        """See `Files.symlink`."""
        await self._do(SYMLINK, path, ("target", encode_path(os.fspath(target))), ("flags", int(replace)))

    @timed(changes=True)
    async def upload(
        self, source: Path, destination: Path = ".", *, progress: Progress | None = None, timeout: Timeout = None
    ) -> TreeCount:
        """See `Files.upload`."""
        packer = await Blocking(functools.partial(TreePacker, os.fsencode(source), progress))
        chunks = iter(packer)
        call = await self._begin(UNPACK, self._fields(destination, ("flags", 1)), {})
        try:
            while (chunk := await Blocking(functools.partial(_several, chunks), whole=True)) and not call.over:
                await call.write_all(chunk)
            call.end_input()
        except BaseException:
            call.cancel()
            raise
        finally:
            chunks.close()
        await self._end(call, destination)
        return packer.count

    @timed(changes=True)
    async def download(
        self,
        source: Path,
        destination: Path,
        *,
        progress: Progress | None = None,
        follow_links: bool = False,
        limit: int | None = None,
        timeout: Timeout = None,
    ) -> TreeCount:
        """See `Files.download`."""
        pipe = Pipe()
        call = await self._begin(PACK, self._fields(source), {STDOUT: pipe}, window=_WINDOW)
        unpacker = TreeUnpacker(
            os.fsencode(destination), DOWNLOAD_LIMIT if limit is None else limit, progress, follow_links=follow_links
        )
        try:
            while True:
                data, credit = pipe.take()
                call.credit(STDOUT, credit)
                if data is None:
                    await call.until(pipe.waiter())
                elif data:
                    await Blocking(functools.partial(unpacker.feed, data), whole=True)
                else:
                    break
            await self._end(call, source)
            return await Blocking(unpacker.finish, whole=True)
        except ConnectionLostError as error:
            raise await Blocking(functools.partial(self._connections.explain, error, None)) from error
        except BaseException:
            call.cancel()
            raise
        finally:
            unpacker.close()


def _several(chunks: Any, size: int = 256 << 10) -> bytes:
    """Join some chunks into one, as the chunk of a small file is far smaller than what one write can carry."""
    found: list[bytes] = []
    total = 0
    for chunk in chunks:
        found.append(chunk)
        total += len(chunk)
        if total >= size:
            break
    return b"".join(found)
