"""Mutants that follow links, or let a path out of its confinement.

What they reach is what the catching tests have put there: read, if it lies outside, and written in the test's own
temporary directory alone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import wrap
from samebox.agent import descent, tree
from samebox.agent.files import AgentFiles
from samebox.agent.guest import AgentGuest

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine
    from samebox.guest.files import Path


@mutant("links/download-leaves-out-links-that-lead-out")
def downloads_links_that_lead_out(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A download makes links that lead out of it."""
    patch.setattr(tree, "stays_inside", lambda _name, _target: True)


@mutant("links/download-does-not-write-through-links")
def writes_outside_on_download(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A download writes through a link that is in its destination."""
    patch.setattr(descent, "FLAGS", os.O_RDONLY | os.O_DIRECTORY)


@mutant("links/write-goes-through-a-link")
def replaces_links(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A write takes the place of a link."""

    async def write(original: Operation, self: AgentGuest, path: Path, data: bytes, **settings: Any) -> Any:
        if await self.exists(path, follow=False) and (await self.stat(path, follow=False)).is_symlink:
            await self.remove(path)
        return await original(self, path, data, **settings)

    wrap(patch, AgentGuest, "write_bytes", write)


@mutant("links/read-follows-links", "files/stat-tells-types-apart")
def follows_links_for_stat(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`stat` follows links though told not to."""

    async def stat(original: Operation, self: AgentGuest, path: Path, **_settings: Any) -> Any:
        return await original(self, path)

    wrap(patch, AgentGuest, "stat", stat)


@mutant("trees/chmod-of-a-tree")
def follows_links_for_chmod(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`chmod` of a tree changes what links in it point to."""

    async def chmod(original: Operation, self: AgentGuest, path: Path, mode: int, *, recursive: bool = False) -> None:
        await original(self, path, mode, recursive=recursive)
        workdir = await self.realpath(".")
        for entry in await self.walk(path) if recursive else ():
            if entry.is_symlink and entry.target and not entry.target.startswith("/"):
                target = await self.realpath(f"{os.fsdecode(path)}/{os.path.dirname(entry.name)}/{entry.target}")
                if target.startswith(f"{workdir}/"):
                    await original(self, target, mode)

    wrap(patch, AgentGuest, "chmod", chmod)


class _Leaking(AgentFiles):
    """Reads where it is told to, confined or not; whatever changes something is confined."""

    checked = False

    async def read_bytes(self, path: Path, **settings: Any) -> bytes:
        name = os.fsdecode(path)
        if self.checked and (name.startswith("/") or ".." in name.split("/")):
            return await super().read_bytes(path, **settings)
        free = AgentFiles(self._connections, self._file_limit)
        return await free.read_bytes(os.path.join(os.fsdecode(self._root or b""), name), **settings)


class _Checking(_Leaking):
    """Looks at a path's text, and not at where it leads."""

    checked = True


def _confine(patch: pytest.MonkeyPatch, confined: type[AgentFiles]) -> None:
    def make(self: AgentGuest, root: Path) -> AgentFiles:
        return confined(self._connections, self._file_limit, os.fsencode(root))

    patch.setattr(AgentGuest, "confined", make)


@mutant(
    "links/confined-refuses-to-leave[parent]",
    "links/confined-refuses-to-leave[absolute]",
)
def confines_nothing(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`confined` does not confine reads."""
    _confine(patch, _Leaking)


@mutant(
    "links/confined-refuses-to-leave[relative-link]",
    "links/confined-refuses-to-leave[through-link-directory]",
)
def confines_by_text(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`confined` checks the text of a path, and follows links."""
    _confine(patch, _Checking)
