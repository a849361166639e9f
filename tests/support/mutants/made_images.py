"""Mutants that lose sight of the images that were made, or remove the wrong ones."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mutants.mutant import ImageSubject, mutant
from samebox.capabilities import Capability
from samebox.engine import Engine
from samebox.errors import SandboxError
from samebox.sandbox.inventory import Inventory

if TYPE_CHECKING:
    import pytest

    from samebox.engine import ImageStatus
    from samebox.engine.local import LocalEngine


def _change_images(engine: type[LocalEngine], patch: pytest.MonkeyPatch, **facts: Any) -> None:
    original = ImageSubject.images

    def images(self: ImageSubject) -> list[ImageStatus]:
        return [replace(image, **facts) for image in original(self)]

    patch.setattr(engine, "images", images)


@mutant("made-images/snapshot-is-listed-and-removed", "made-images/image-in-use-is-not-removed", base=ImageSubject)
def lists_no_images(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Nothing that was made is listed."""
    patch.setattr(engine, "images", Engine.images)


@mutant("made-images/snapshot-is-listed-and-removed", base=ImageSubject)
def tells_no_size(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Every image has the size 0."""
    _change_images(engine, patch, size=0)


@mutant("made-images/snapshot-is-listed-and-removed", base=ImageSubject)
def keeps_removed_images(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An image that was removed is still there."""
    patch.setattr(engine, "remove_image", Engine.remove_image)


@mutant("made-images/image-in-use-is-not-removed", base=ImageSubject)
def removes_images_in_use(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An image that a sandbox has is removed."""
    remove_image = ImageSubject.remove_image

    def remove(self: ImageSubject, name: str) -> None:
        self.users.clear()
        remove_image(self, name)

    patch.setattr(engine, "remove_image", remove)


@mutant("made-images/replaced-snapshot-does-not-stay", base=ImageSubject)
def leaves_images_without_names(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A snapshot whose name another one gets stays."""
    patch.setattr(engine, "clean_images", lambda self: None)


@mutant("made-images/old-images-are-told-from-young-ones", base=ImageSubject)
def forgets_the_last_use(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An image is as old as when it was made, however often it is used."""
    _change_images(engine, patch, used=None)


@mutant("made-images/old-images-are-told-from-young-ones", base=ImageSubject)
def takes_images_in_use_for_stale(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Whether a sandbox has an image does not count, only its age."""

    def stale_images(self: Inventory, age: float) -> Any:
        before = time.time() - age
        return [entry for entry in self.images() if (entry.status.last_used or before) < before]

    patch.setattr(Inventory, "stale_images", stale_images)


@mutant("made-images/unknown-image-is-not-removed")
def removes_what_is_not_there(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Removing an image that is not there succeeds."""

    def remove_image(self: LocalEngine, name: str) -> None:
        with contextlib.suppress(SandboxError):
            Engine.remove_image(self, name)

    patch.setattr(engine, "remove_image", remove_image)


@mutant("made-images/archive-is-listed-and-removed")
def claims_archives(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """ARCHIVE_IMAGE is claimed, and nothing is brought."""
    engine.capabilities |= {Capability.ARCHIVE_IMAGE}
