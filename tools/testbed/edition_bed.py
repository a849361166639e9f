"""EditionBed: one versioned engine with all that it needs, beside all other engines."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from testbed.bed import Bed
from testbed.dockerd import Docker
from testbed.editions import EDITIONS
from testbed.images import RECIPES
from testbed.leftovers import remove_tree
from testbed.podman import Podman
from testbed.rootless_docker import RootlessDocker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from testbed.bed import Reach
    from testbed.editions import Edition
    from testbed.layout import EditionLayout, Layout


class EditionBed(Bed):
    """The bed of one version: Docker, rootless Docker, or Podman both rootful and rootless.

    Args:
        layout: The layout of the machine's ordinary bed, from which the edition's own layout is made.
        edition: The version.
        say: Called with a line for each step.

    Raises:
        TestbedError: The state file cannot be read.
    """

    # The suite needs no other image than the first.
    recipes = RECIPES[:1]
    exports = {}  # noqa: RUF012 - no engine exports an image

    layout: EditionLayout

    def __init__(self, layout: Layout, edition: Edition, say: Callable[[str], None]) -> None:
        super().__init__(layout.edition(edition.name), say)
        self.edition = edition

    def engines(self, user: tuple[int, int] | None) -> Sequence[Docker | Podman]:
        """Return every engine of the bed, whether it is up or not."""
        layout, state, programs = self.layout, self.state, self.edition.programs(self.layout)
        match self.edition.kind:
            case "docker":
                return (Docker(layout, state, programs),)
            case "docker-rootless":
                return (RootlessDocker(layout, state, programs, user or (0, 0)),)
        return Podman(layout, state, None, programs), Podman(layout, state, user or (0, 0), programs)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that the tests read."""
        version = self.edition.version.replace(".", "_")
        names = [f"{engine.name}_{version}" for engine in self.engines(None)]
        urls = [engine.url for engine in self.engines(None)]
        return {
            f"SAMEBOX_TEST_{name.upper().replace('-', '_')}_URL": url for name, url in zip(names, urls, strict=True)
        }

    def label(self, engine: Docker | Podman) -> str:
        """Return an engine's name in the table."""
        return f"{engine.name}={self.edition.version}"

    @property
    def made(self) -> bool:
        """Whether the bed was made and not removed."""
        return self.state.get("engines") is not None

    def _ensure_programs(self) -> None:
        """Download and unpack the engine."""
        self.edition.ensure(self.layout, self._say)

    def _without_daemon(self, user: tuple[int, int] | None) -> list[Reach]:  # noqa: ARG002 - as in Bed
        """Return no line, as this bed is about no version of bubblewrap."""
        return []

    def packages(self) -> dict[str, dict[str, str]]:
        """Return the version and digest of every package of the engine, by the package's name."""
        try:
            found: dict[str, dict[str, str]] = json.loads(self.layout.packages.read_text(encoding="utf-8"))
        except FileNotFoundError:
            found = {}
        return found


def all_edition_beds(layout: Layout, say: Callable[[str], None]) -> list[EditionBed]:
    """Return the beds of all editions that have files on this machine."""
    beds = [EditionBed(layout, edition, say) for edition in EDITIONS]
    return [bed for bed in beds if bed.layout.state.exists() or bed.layout.run.exists()]


def remove_shared_parts(layout: Layout) -> None:
    """Remove the downloads and images that all editions share."""
    remove_tree(layout.editions)
    with contextlib.suppress(OSError):
        layout.edition("any").run.parent.rmdir()
