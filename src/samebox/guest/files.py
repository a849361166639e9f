"""Files: the interface for file operations inside a sandbox, with the operations that are built from other ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from samebox.errors import EditError, OutputLimitError, PathNotFoundError
from samebox.guest.line_ends import count_lines, patched, replaced, split_lines
from samebox.guest.operation import timed

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from samebox.guest.arguments import Timeout
    from samebox.guest.results import FileInfo, GrepMatches, TreeCount

    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Progress = Callable[[str, int], None]


class Files(ABC):
    """File operations inside a sandbox, with the authority of the sandbox user.

    A path is text, bytes or a path object, and is relative to the workdir unless absolute. Names hold any byte but `/`
    and NUL (surrogateescape in text).

    Every operation takes a `timeout`, in seconds from its call in a sandbox that runs, or as "5m"; None waits as long
    as it takes. What is not over by then is ended with `SandboxTimeoutError`, within 5 seconds also where the agent was
    stopped. An argument that is wrong is a `ValueError`, and nothing has happened. Every operation raises
    `PathNotFoundError`, `PathPermissionError` and the other `SandboxOSError`s where the built-in open and os functions
    raise their errors, and `SandboxGoneError` when the sandbox is gone.
    """

    @abstractmethod
    async def read_bytes(
        self,
        path: Path,
        *,
        offset: int = 0,
        length: int | None = None,
        limit: int | None = None,
        timeout: Timeout = None,
    ) -> bytes:
        """Return a regular file's content, or a part of it.

        Args:
            path: The file; links are followed.
            offset: Where to begin, in bytes from the file's beginning; behind its end there is nothing.
            length: How much to read at most, in bytes; None: up to the end of the file.
            limit: The most to read, in bytes; None: the config's `file_limit`.
            timeout: The longest that the call may take, in seconds; None: any time.

        Raises:
            FileTooLargeError: There is more than the limit, and no length was given; nothing is returned.
            ValueError: offset or length is negative, or length is more than the limit.
            NotARegularFileError: The path is a FIFO, socket or device, whose reader could wait for ever.
        """

    @abstractmethod
    async def write_bytes(
        self, path: Path, data: bytes, *, mode: int | None = None, exclusive: bool = False, timeout: Timeout = None
    ) -> int:
        """Write a file, making its parent directories; readers see the old content or the new content, never a part.

        Args:
            path: The file; a link is followed. A replaced file keeps its mode and owner.
            data: The content.
            mode: The permission bits for a new file; None: 0o644.
            exclusive: Whether to fail if something is at the path already.
            timeout: The longest that the call may take, in seconds; None: any time.

        Returns:
            The number of bytes written.

        Raises:
            PathExistsError: `exclusive`, and something is at the path already.
            SandboxOSError: With EROFS where the file system refuses writes, ENOSPC where it is full.
        """

    @abstractmethod
    async def append(self, path: Path, data: bytes | str, *, mode: int | None = None, timeout: Timeout = None) -> int:
        """Append to a file in one go, making the file and its parents if need be; text is written as UTF-8.

        Returns:
            The number of bytes appended.
        """

    @abstractmethod
    async def stat(self, path: Path, *, follow: bool = True, timeout: Timeout = None) -> FileInfo:
        """Return the facts about a file; with `follow=False`, those of a link itself."""

    @abstractmethod
    async def list_dir(self, path: Path = ".", *, timeout: Timeout = None) -> list[FileInfo]:
        """Return a directory's entries in byte order of their names; links are not followed."""

    @abstractmethod
    async def walk(self, path: Path = ".", *, depth: int | None = None, timeout: Timeout = None) -> list[FileInfo]:
        """Return everything below a directory, depth first, with relative paths as names; links are not followed.

        Args:
            path: The directory.
            depth: How deep to go, 1 being the directory's own entries; None: all the way.
            timeout: The longest that the call may take, in seconds; None: any time.
        """

    @abstractmethod
    async def glob(self, pattern: str, path: Path = ".", *, timeout: Timeout = None) -> list[str]:
        """Return the paths below a directory that match, relative to `path`, in byte order within each directory.

        Args:
            pattern: The pattern: `*` and `?` stay within a component, `**` does not, `[...]` is a set of characters.
            path: The directory.
            timeout: The longest that the call may take, in seconds; None: any time.
        """

    @abstractmethod
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
        """Return the lines of text files that match; binary files and links are passed over.

        Args:
            pattern: A POSIX extended regular expression, or a plain text with `fixed`.
            path: The file to search, or the directory, with all files below.
            include: Globs, one of which a file's name (or relative path, if the glob has a `/`) must match; without
                globs, all files are searched.
            ignore_case: Whether upper and lower case match each other.
            fixed: Whether the pattern is plain text.
            limit: The most matches to return; the result's `truncated` tells that there are more.
            timeout: The longest that the call may take, in seconds; None: any time.
        """

    @abstractmethod
    async def make_dir(
        self,
        path: Path,
        *,
        parents: bool = True,
        exist_ok: bool = True,
        mode: int | None = None,
        timeout: Timeout = None,
    ) -> None:
        """Make a directory; a `mode` of None stands for 0o755.

        Raises:
            PathExistsError: Something is at the path already, unless it is a directory and `exist_ok` is true.
        """

    @abstractmethod
    async def remove(
        self, path: Path, *, recursive: bool = False, missing_ok: bool = False, timeout: Timeout = None
    ) -> None:
        """Remove a file, a link (never what it points to), or a directory, with all below it if `recursive`.

        Raises:
            ProtectedPathError: The path is the workdir or an ancestor of the workdir.
        """

    @abstractmethod
    async def move(self, path: Path, destination: Path, *, replace: bool = True, timeout: Timeout = None) -> None:
        """Rename a file or directory, also across file systems.

        The destination is the new path, never a directory to move into.
        """

    @abstractmethod
    async def copy(self, path: Path, destination: Path, *, replace: bool = True, timeout: Timeout = None) -> None:
        """Copy a file, or a directory with all below it; modes, times and links are kept."""

    @abstractmethod
    async def chmod(self, path: Path, mode: int, *, recursive: bool = False, timeout: Timeout = None) -> None:
        """Set permission bits; links below a directory are left alone."""

    @abstractmethod
    async def realpath(self, path: Path, *, timeout: Timeout = None) -> str:
        """Return the path with every link resolved; the path has to exist."""

    @abstractmethod
    async def read_link(self, path: Path, *, timeout: Timeout = None) -> str:
        """Return where a symbolic link leads, as it is written in the link.

        Raises:
            SandboxOSError: With EINVAL where the path is no link.
        """

    @abstractmethod
    async def symlink(self, target: Path, path: Path, *, replace: bool = False, timeout: Timeout = None) -> None:
        """Make a symbolic link at `path` that points to `target`, as `ln -s target path` does."""

    @abstractmethod
    async def upload(
        self, source: Path, destination: Path = ".", *, progress: Progress | None = None, timeout: Timeout = None
    ) -> TreeCount:
        """Copy a file or a tree of this host into the sandbox.

        Args:
            source: A file or directory of the host. Links below a directory are copied as links; devices, sockets and
                FIFOs are left out.
            destination: The path of the copy; a directory is merged into a directory that is there already.
            progress: Called with each path and the bytes moved so far.
            timeout: The longest that the call may take, in seconds; None: any time.

        Raises:
            OSError: The host's file can't be read.
        """

    @abstractmethod
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
        """Copy a file or a tree of the sandbox to this host.

        Nothing is written outside the destination, whatever names and links the sandbox holds. New files and
        directories get their permission bits less the umask of this process.

        Args:
            source: A file or directory of the sandbox.
            destination: The path of the copy on the host; a directory is merged into a directory that is there already,
                and files are replaced. Links that point out of the tree are left out and named in the result.
            progress: Called with each path and the bytes moved so far.
            follow_links: Whether the destination's path may go through any symbolic link of this host. Otherwise links
                are followed only in directories that this user may not write to, where no sandbox can have put them.
            limit: How much the copy may hold, in bytes, with what names and links cost here; None: 4 GiB.
            timeout: The longest that the call may take, in seconds; None: any time.

        Raises:
            OutputLimitError: The tree is larger than the limit, or deeper than a download takes.
            OSError: The host's file can't be written, or the destination goes through a link (ELOOP).
        """

    @timed()
    async def read_text(
        self,
        path: Path,
        *,
        encoding: str = "utf-8",
        errors: str = "strict",
        limit: int | None = None,
        timeout: Timeout = None,
    ) -> str:
        """Return a file's content as text, line ends as they are.

        Raises:
            UnicodeDecodeError: The content is not in the encoding.
        """
        return (await self.read_bytes(path, limit=limit)).decode(encoding, errors)

    @timed()
    async def read_lines(
        self,
        path: Path,
        start: int = 1,
        count: int | None = None,
        *,
        encoding: str = "utf-8",
        errors: str = "strict",
        limit: int = 16 << 20,
        timeout: Timeout = None,
    ) -> list[str]:
        """Return some lines of a text file, with their ends; what comes after them is not read.

        Args:
            path: The file; links are followed.
            start: The first line, from 1.
            count: How many lines at most; None: all that follow.
            encoding: As for `read_text`; one in which a line's end is the byte 10.
            errors: As for `read_text`.
            limit: How much the lines may have together, in bytes.
            timeout: The longest that the call may take, in seconds; None: any time.

        Raises:
            OutputLimitError: They have more; nothing is returned.
            UnicodeDecodeError: The lines are not in the encoding.
            ValueError: start is below 1, or count is negative.
        """
        if start < 1 or (count is not None and count < 0):
            msg = f"start is a line's number from 1, and count a number from 0, not {start!r} and {count!r}"
            raise ValueError(msg)
        lines: list[bytes] = []
        number, offset, held, rest = 1, 0, 0, b""
        while count is None or len(lines) < count:
            data = await self.read_bytes(path, offset=offset, length=_PIECE)
            offset += len(data)
            *whole, rest = split_lines(rest + data) if data else [rest, b""]
            if rest.endswith(b"\n"):
                whole, rest = [*whole, rest], b""
            for line in whole:
                if number >= start and line and (count is None or len(lines) < count):
                    lines.append(line)
                    held += len(line)
                number += 1
            if held + len(rest) > limit:
                found = f"the lines have more than {limit} bytes"
                msg = f"read_lines {_shown(path)}: {found}; give a larger limit, or a count"
                raise OutputLimitError(msg)
            if not data:
                break
        return [line.decode(encoding, errors) for line in lines]

    @timed(changes=True)
    async def write_text(
        self,
        path: Path,
        text: str,
        *,
        encoding: str = "utf-8",
        mode: int | None = None,
        exclusive: bool = False,
        timeout: Timeout = None,
    ) -> int:
        """Write text, line ends as they are; otherwise as `write_bytes`."""
        if not isinstance(text, str):
            msg = f"text is a text, not {type(text).__name__}; use write_bytes() for bytes"
            raise ValueError(msg)  # noqa: TRY004 - as for every other mistake
        return await self.write_bytes(path, text.encode(encoding), mode=mode, exclusive=exclusive)

    @timed()
    async def exists(self, path: Path, *, follow: bool = True, timeout: Timeout = None) -> bool:
        """Whether something is at the path; with `follow`, a link counts only if its target is there."""
        try:
            await self.stat(path, follow=follow)
        except (PathNotFoundError, NotADirectoryError):
            return False
        return True

    @timed(changes=True)
    async def edit(self, path: Path, old: str, new: str, *, count: int = 1, timeout: Timeout = None) -> int:
        """Replace a text in a file.

        Args:
            path: The file, in UTF-8; bytes that are not UTF-8 are kept as they are.
            old: The text to replace, which has to be in the file exactly `count` times. A newline also stands for a
                carriage return with a newline, unless one of the texts has a carriage return.
            new: The text to put in place of the old text. Its lines get the line ends of those that they replace,
                further ones that of the line before; with a carriage return in one of the texts, it is put there as is.
            count: How often the old text has to be there; 0: any number of times, at least once.
            timeout: The longest that the call may take, in seconds; None: any time.

        Returns:
            How often the text was replaced.

        Raises:
            EditError: The text is there more or less often; the file is unchanged.
        """
        if not old:
            msg = "edit: the text to replace is empty; give the text that is there, or use write_text or patch"
            raise EditError(msg)
        before, after = _encoded(old), _encoded(new)
        data, found = replaced(await self.read_bytes(path), before, after)
        if found == 0 or (count and found != count):
            wanted = f"{count} time{'s' if count != 1 else ''}" if count else "at least once"
            hint = "give more of the text around it, or count=0 for all" if found else "read the file again"
            msg = f"edit {_shown(path)}: the text to replace is there {found} times, expected {wanted}; {hint}"
            raise EditError(msg, found, count)
        await self.write_bytes(path, data)
        return found

    @timed(changes=True)
    async def patch(self, path: Path, start: int, end: int, text: str, *, timeout: Timeout = None) -> None:
        """Replace a range of lines.

        Args:
            path: The file, in UTF-8; bytes that are not UTF-8 are kept as they are.
            start: The first line to replace, from 1; the number after the last line's appends.
            end: The last line to replace; `start - 1` inserts before `start` without replacing a line.
            text: The text in place of the lines, or "" to delete the lines; a line end is added to a text without one
                if something follows. Its lines get the line ends of those that they replace, further ones that of the
                line before, unless the text has a carriage return.
            timeout: The longest that the call may take, in seconds; None: any time.

        Raises:
            EditError: The file has no such lines; the file is unchanged.
        """
        data = await self.read_bytes(path)
        lines = count_lines(data)
        if not 1 <= start <= lines + 1 or not start - 1 <= end <= lines:
            msg = f"patch {_shown(path)}: there are no lines {start} to {end}; the file has {lines} lines"
            raise EditError(msg)
        await self.write_bytes(path, patched(data, start, end, _encoded(text)))


_PIECE = 256 << 10
"""How much of a file `read_lines` reads at a time, in bytes."""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shown(path: Any) -> str:
    return repr(path if isinstance(path, str | bytes) else str(path))
