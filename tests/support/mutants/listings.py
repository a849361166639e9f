"""Mutants that get names, listings and trees wrong."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import wrap
from samebox.agent import files, guest, names, packer, records
from samebox.agent.guest import AgentGuest

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine
    from samebox.guest.files import Path


def _change_list(patch: pytest.MonkeyPatch, change: Any) -> None:
    async def list_dir(original: Operation, self: Any, path: Path = ".") -> Any:
        return change(await original(self, path))

    wrap(patch, AgentGuest, "list_dir", list_dir)


@mutant("files/listing-is-complete-and-sorted")
def hides_dotfiles(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Hidden entries are not listed."""
    _change_list(patch, lambda found: [entry for entry in found if not entry.name.startswith(".")])


@mutant("names/name-made-inside-is-seen[newline]")
def drops_odd_names(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Entries with a line end in their name are not listed."""
    _change_list(patch, lambda found: [entry for entry in found if "\n" not in entry.name])


@mutant("files/listing-is-complete-and-sorted")
def lists_without_order(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A listing is in another order."""
    _change_list(patch, lambda found: found[::-1])


@mutant("trees/list-of-a-large-directory")
def lists_a_thousand(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A listing ends after a thousand entries."""
    _change_list(patch, lambda found: found[:1000])


@mutant("names/name-made-inside-is-seen[not-utf-8]")
def replaces_bytes_of_names(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Bytes of names that are no UTF-8 are replaced."""
    patch.setattr(names, "decode_path", lambda data: data.decode("utf-8", "replace"))


@mutant("names/nul-in-a-name-is-refused", "exec/nul-is-refused")
def cuts_paths_at_nul(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A path ends at its first NUL."""
    original = records.encode_path

    def encode_path(path: str | bytes) -> bytes:
        return original(path.partition(b"\0")[0] if isinstance(path, bytes) else path.partition("\0")[0])

    patch.setattr(files, "encode_path", encode_path)
    patch.setattr(guest, "encode_path", encode_path)


@mutant("trees/walk-keeps-to-its-depth")
def walks_too_deep(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A walk goes one level deeper than it is told."""

    async def walk(original: Operation, self: Any, path: Path = ".", *, depth: int | None = None) -> Any:
        return await original(self, path, depth=None if depth is None else depth + 1)

    wrap(patch, AgentGuest, "walk", walk)


@mutant("trees/copy-refuses-to-replace")
def replaces_on_copy(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`replace=False` is ignored."""

    async def copy(original: Operation, self: Any, path: Path, destination: Path, **_settings: Any) -> Any:
        return await original(self, path, destination)

    wrap(patch, AgentGuest, "copy", copy)


@mutant("trees/move-renames")
def moves_into_directories(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`move` moves into a directory that is there."""

    async def move(original: Operation, self: AgentGuest, path: Path, destination: Path, **settings: Any) -> Any:
        if await self.exists(destination) and (await self.stat(destination)).is_dir:
            destination = os.path.join(os.fsdecode(destination), os.path.basename(os.fsdecode(path)))
        return await original(self, path, destination, **settings)

    wrap(patch, AgentGuest, "move", move)


@mutant("trees/upload-of-a-tree")
def uploads_without_modes(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An upload loses the modes of files."""
    original = records.encode_item

    def encode_item(fields: Any) -> bytes:
        return original(
            [(name, 0o644 if name == "mode" and ("file_type", "f") in fields else text) for name, text in fields]
        )

    patch.setattr(packer, "encode_item", encode_item)


@mutant("trees/progress-is-told")
def tells_no_progress(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Progress is not told."""

    async def upload(original: Operation, self: Any, *paths: Path, **_settings: Any) -> Any:
        return await original(self, *paths)

    wrap(patch, AgentGuest, "upload", upload)


@mutant("trees/download-of-a-file-without-a-size")
def trusts_a_size_of_zero(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A file whose size is said to be 0 is downloaded as an empty one."""

    async def download(
        original: Operation, self: files.AgentFiles, source: Any, destination: Any, **settings: Any
    ) -> Any:
        count = await original(self, source, destination, **settings)
        if (await self.stat(source)).size == 0:
            os.truncate(destination, 0)
        return count

    wrap(patch, files.AgentFiles, "download", download)
