"""Mutants that read files wrongly."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import wrap
from samebox import errors
from samebox.agent import caller
from samebox.agent.files import AgentFiles
from samebox.agent.guest import AgentGuest
from samebox.errors import PathNotFoundError, SandboxOSError
from samebox.guest import files, line_ends

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine
    from samebox.guest.files import Path


def _change_read(patch: pytest.MonkeyPatch, change: Any) -> None:
    async def read_changed(original: Operation, self: Any, path: Path, **settings: Any) -> Any:
        return change(await original(self, path, **settings))

    wrap(patch, AgentGuest, "read_bytes", read_changed)


@mutant("files/read-bytes-are-exact")
def ends_files_at_nul(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A read ends at the first NUL."""
    _change_read(patch, lambda data: data.partition(b"\0")[0])


@mutant("files/size-makes-no-difference[65537]")
def reads_one_chunk(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A read gives one frame's worth."""
    _change_read(patch, lambda data: data[: 64 << 10])


@mutant("files/text-keeps-line-ends")
def reads_universal_newlines(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Text is read with its line ends converted."""

    async def read_text(original: Operation, self: Any, path: Path, **settings: Any) -> Any:
        return (await original(self, path, **settings)).replace("\r\n", "\n").replace("\r", "\n")

    wrap(patch, AgentGuest, "read_text", read_text)


@mutant("files/text-that-is-not-utf8-raises")
def guesses_text(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """What is no UTF-8 is replaced in text."""

    async def read_text(original: Operation, self: Any, path: Path, **settings: Any) -> Any:
        return await original(self, path, **settings, errors="replace")

    wrap(patch, AgentGuest, "read_text", read_text)


@mutant(
    "files/fifo-does-not-hang",
    "files/link-to-a-fifo-does-not-hang",
    patience=1,
)
def hangs_on_a_fifo(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Files are read by `cat`, which waits for the other side of a FIFO."""

    async def read_by_cat(_original: Operation, self: AgentGuest, path: Path, **_settings: Any) -> Any:
        return (await self.exec(["cat", str(path)])).stdout

    wrap(patch, AgentGuest, "read_bytes", read_by_cat)


@mutant("files/missing-file-raises", "exec/errors-share-a-base")
def raises_one_error_for_all(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Every failure of a file operation is the same error."""

    def os_error(number: int, path: str | None, **_more: Any) -> SandboxOSError:
        return SandboxOSError(number, "it failed", path)

    patch.setattr(caller, "os_error", os_error)


@mutant("files/missing-file-raises")
def raises_bare_errors(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Errors have no errno and no filename."""
    original = errors.os_error
    patch.setattr(caller, "os_error", lambda number, path, **more: type(original(number, path, **more))("it failed"))


@mutant("files/file-in-place-of-a-directory-raises")
def mistakes_not_a_directory(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A file in the place of a directory is taken for nothing there."""
    original = errors.os_error

    def os_error(number: int, path: str | None, **more: Any) -> SandboxOSError:
        if number == errno.ENOTDIR:
            return PathNotFoundError(errno.ENOENT, "No such file or directory", path)
        return original(number, path, **more)

    patch.setattr(caller, "os_error", os_error)


@mutant("files/exists-is-a-plain-question")
def raises_for_exists(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`exists` raises for what is not there."""

    async def exists(_original: Operation, self: AgentGuest, path: Path, **settings: Any) -> bool:
        await self.stat(path, **settings)
        return True

    wrap(patch, AgentGuest, "exists", exists)


@mutant("files/part-of-a-file")
def reads_parts_of_what_it_may_read(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A part of a file is cut out of the whole."""

    async def read_part(
        original: Operation, self: Any, path: Any, *, offset: int = 0, length: int | None = None, **settings: Any
    ) -> Any:
        return (await original(self, path, **settings))[offset:][:length]

    wrap(patch, AgentGuest, "read_bytes", read_part)


@mutant("files/lines-of-a-file")
def loses_lines_at_edges(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A line that is read in two pieces is two lines."""
    lines = line_ends.split_lines

    def lines_that_end(data: bytes) -> list[bytes]:
        found = lines(data)
        return [*found[:-1], found[-1].rstrip(b"\n") + b"\n"] if found else []

    patch.setattr(files, "split_lines", lines_that_end)


@mutant("files/target-of-a-link")
def follows_to_the_target(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A link's target is where it leads in the end."""
    patch.setattr(AgentGuest, "read_link", AgentFiles.realpath, raising=False)


@mutant("files/search-tells-that-there-is-more")
def guesses_that_there_is_more(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A search with as many matches as its limit is said to be cut."""

    async def grep(original: Operation, self: Any, *args: Any, **settings: Any) -> Any:
        found = await original(self, *args, **settings)
        found.truncated = len(found) == settings.get("limit")
        return found

    wrap(patch, AgentGuest, "grep", grep)
