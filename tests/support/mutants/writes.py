"""Mutants that write files wrongly, in the place where they are told to or beside it in the same directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import wrap
from samebox.agent.guest import AgentGuest
from samebox.guest import files, line_ends

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine
    from samebox.guest.files import Path


@mutant("files/open-file-keeps-its-content")
def writes_in_place(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A write changes the file in its place."""

    async def write_by_shell(_original: Operation, self: AgentGuest, path: Path, data: bytes, **_more: Any) -> int:
        script = 'mkdir -p "$(dirname "$1")"; cat > "$1"'
        await self.exec(["sh", "-c", script, "sh", os.fsdecode(path)], input=data)
        return len(data)

    wrap(patch, AgentGuest, "write_bytes", write_by_shell)


@mutant("files/write-creates-parents")
def forgets_parents(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A write makes no parents."""

    async def write_below(original: Operation, self: AgentGuest, path: Path, data: bytes, **settings: Any) -> Any:
        await self.stat(os.path.dirname(os.fsdecode(path)) or ".")
        return await original(self, path, data, **settings)

    wrap(patch, AgentGuest, "write_bytes", write_below)


@mutant("files/new-file-has-the-mode-asked-for", "exec/script-written-by-files-runs")
def ignores_the_mode(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A write's `mode` is ignored."""

    async def write_plain(original: Operation, self: AgentGuest, *args: Any, **settings: Any) -> Any:
        return await original(self, *args, **settings | {"mode": None})

    wrap(patch, AgentGuest, "write_bytes", write_plain)


@mutant("files/replaced-file-keeps-its-mode")
def forgets_the_old_mode(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A file that is written again gets a new mode."""

    async def write_anew(original: Operation, self: AgentGuest, path: Path, data: bytes, **settings: Any) -> Any:
        size = await original(self, path, data, **settings)
        await self.chmod(path, settings.get("mode") or 0o644)
        return size

    wrap(patch, AgentGuest, "write_bytes", write_anew)


@mutant("files/write-leaves-no-temporary-file")
def leaves_temporary_files(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A write leaves its temporary file."""

    async def write_twice(original: Operation, self: AgentGuest, path: Path, data: bytes, **settings: Any) -> Any:
        await original(self, os.fsencode(path) + b".tmp", data)
        return await original(self, path, data, **settings)

    wrap(patch, AgentGuest, "write_bytes", write_twice)


@mutant("files/write-replaces-the-content")
def keeps_the_old_tail(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A shorter write leaves the old file's tail."""

    async def write_over(original: Operation, self: AgentGuest, path: Path, data: bytes, **settings: Any) -> Any:
        tail = (await self.read_bytes(path))[len(data) :] if await self.exists(path) else b""
        return await original(self, path, data + tail, **settings)

    wrap(patch, AgentGuest, "write_bytes", write_over)


@mutant("files/exclusive-write-refuses-what-is-there")
def ignores_exclusive(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An exclusive write replaces what is there."""

    async def write_anyway(original: Operation, self: AgentGuest, *args: Any, **settings: Any) -> Any:
        return await original(self, *args, **settings | {"exclusive": False})

    wrap(patch, AgentGuest, "write_bytes", write_anyway)


@mutant("files/appends-at-once-lose-nothing")
def appends_by_writing_back(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`append` reads, adds and writes back."""

    async def append(_original: Operation, self: AgentGuest, path: Path, data: Any, **_settings: Any) -> int:
        before = await self.read_bytes(path) if await self.exists(path) else b""
        added = data.encode() if isinstance(data, str) else data
        await self.write_bytes(path, before + added)
        return len(added)

    wrap(patch, AgentGuest, "append", append)


@mutant("files/edit-replaces-a-text")
def edits_the_wrong_place(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`edit` replaces a text that is there more than once."""

    async def edit(_original: Operation, self: AgentGuest, path: Path, old: str, new: str, **_settings: Any) -> int:
        text = await self.read_text(path)
        await self.write_text(path, text.replace(old, new, 1))
        return min(text.count(old), 1)

    wrap(patch, AgentGuest, "edit", edit)


@mutant("line-ends/edit-matches-either-line-end")
def edits_bytes(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`edit` knows newlines alone."""
    patch.setattr(files, "replaced", lambda data, old, new: (data.replace(old, new), data.count(old)))


@mutant("line-ends/edit-takes-carriage-returns-as-they-are")
def edits_any_line_end(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`edit` can't tell one line end from the other."""

    def replaced(data: bytes, old: bytes, new: bytes) -> tuple[bytes, int]:
        return line_ends.replaced(data, *(text.replace(b"\r\n", b"\n") for text in (old, new)))

    patch.setattr(files, "replaced", replaced)


@mutant("line-ends/edit-keeps-each-line-end", "line-ends/patch-keeps-line-ends")
def makes_line_ends_alike(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An edit converts all of a file that has carriage returns."""

    def alike(data: bytes) -> bytes:
        return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if b"\r\n" in data else data

    def replaced(data: bytes, old: bytes, new: bytes) -> tuple[bytes, int]:
        data, count = line_ends.replaced(data, old, new)
        return alike(data), count

    patch.setattr(files, "replaced", replaced)
    patch.setattr(files, "patched", lambda *args: alike(line_ends.patched(*args)))


@mutant("line-ends/patch-keeps-line-ends")
def patches_newlines(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The lines that `patch` puts into a file end as they were given."""

    def patched(data: bytes, start: int, end: int, new: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        new += b"" if new.endswith(b"\n") or not new else b"\n"
        return b"".join([*lines[: start - 1], new, *lines[end:]])

    patch.setattr(files, "patched", patched)


@mutant("files/remove-refuses-the-workdir[.]")
def removes_the_workdir(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`remove` empties the workdir."""

    async def remove(original: Operation, self: AgentGuest, path: Path, **settings: Any) -> Any:
        # Only what the catching test calls `.`, and only where that is a directory which the local engine has made.
        if path == "." and os.path.basename(await self.realpath(".")).startswith("samebox-local-"):
            for entry in await self.list_dir("."):
                await original(self, entry.name, recursive=True)
            return None
        return await original(self, path, **settings)

    wrap(patch, AgentGuest, "remove", remove)
