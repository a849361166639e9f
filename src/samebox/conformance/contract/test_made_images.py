"""Made images: what builds, snapshots and imports leave on an engine, so that it can be seen and taken away again."""

from __future__ import annotations

import contextlib
import secrets
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, requires
from samebox.engine.registry import make_engine
from samebox.errors import EngineError, ImageNotFoundError, UnsupportedError
from samebox.sandbox.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness
    from samebox.engine import Engine, ImageStatus

MEBIBYTE = 1 << 20


@pytest.fixture
def engine(harness: Harness) -> Iterator[Engine]:
    """The engine under test."""
    with contextlib.closing(make_engine(harness.engine, harness.options)) as engine:
        yield engine


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A name for an image, which is gone after the test."""
    name = f"samebox-conformance-{secrets.token_hex(6)}"
    yield name
    for image in found(engine, name) + found(engine, f"{name}:1"):
        engine.remove_image(image.id)


def found(engine: Engine, name: str) -> list[ImageStatus]:
    """Return the images that a name or an id leads to."""
    return [image for image in engine.images() if image.called(name)]


@requires(Capability.SNAPSHOT)
def test_snapshot_is_listed_and_removed(engine: Engine, name: str, new_box: NewBox) -> None:
    """A snapshot is listed by its name, with its size and age, until it is removed; then it can't be used.

    Why: each is as large as what was installed, and what nobody lists fills the disk.
    Check: `images`, and what `remove_image` leaves of the image.
    """
    before = time.time()
    box = new_box()
    box.write_bytes("large", secrets.token_bytes(2 * MEBIBYTE))
    box.snapshot(name)
    (image,) = found(engine, name)
    assert (image.kind, image.names) == ("snapshot", (name,))
    assert image.size >= 2 * MEBIBYTE
    assert image.created is not None
    assert before - 2 < image.created < time.time() + 2
    engine.remove_image(name)
    assert found(engine, name) == found(engine, image.id) == []
    with pytest.raises((ImageNotFoundError, UnsupportedError)):
        new_box(image=name, **({"pull": "never"} if Capability.PULL in engine.capabilities else {}))


@requires(Capability.SNAPSHOT)
def test_image_in_use_is_not_removed(engine: Engine, name: str, new_box: NewBox) -> None:
    """An image that a sandbox has is listed with the sandbox's name and not removed; the sandbox goes on.

    Why: an image that is taken from under a sandbox breaks it at the next file, or comes back without a name.
    Check: that `remove_image` looks for sandboxes, and refuses before it takes anything away.
    """
    new_box().snapshot(name)
    box = new_box(image=name)
    (image,) = found(engine, name)
    assert image.used_by == (box.name,)
    for word in (name, image.id):
        with pytest.raises(EngineError, match=f"is in use by {box.name}; remove that first"):
            engine.remove_image(word)
    assert found(engine, name)[0].names == (name,)
    assert box.exec(["true"], timeout=DEADLINE).exit_code == 0
    box.close()
    engine.remove_image(name)
    assert found(engine, image.id) == []


@requires(Capability.SNAPSHOT)
def test_replaced_snapshot_does_not_stay(engine: Engine, name: str, new_box: NewBox) -> None:
    """A snapshot whose name another one gets is removed; one that a sandbox has is listed until then.

    Why: images without a name pile up where nobody looks for them.
    Check: what becomes of the image that had the name.
    """
    box = new_box()
    box.snapshot(name)
    (first,) = found(engine, name)
    box.write_text("file", "x")
    box.snapshot(name)
    (second,) = found(engine, name)
    assert (second.id != first.id, found(engine, first.id)) == (True, [])
    user = new_box(image=name)
    box.write_text("file", "y")
    box.snapshot(name)
    assert [image.names for image in found(engine, second.id)] == [()]
    assert user.read_text("file") == "x"
    user.close()
    with contextlib.suppress(ImageNotFoundError):  # where nothing is left without a name and a user
        engine.remove_image(second.id)
    assert found(engine, second.id) == []


@requires(Capability.SNAPSHOT)
def test_old_images_are_told_from_young_ones(engine: Engine, name: str, new_box: NewBox, harness: Harness) -> None:
    """What was not used for some time is stale; what is young, was used lately, or is in use is not.

    Why: a cache that is emptied by the time when things were made loses those that are used every day.
    Check: that the engine, or its user's cache, notes when an image was last used.
    """
    names = [f"{name}-{word}" for word in ("old", "used", "busy", "young")]
    old, used, busy, young = names

    def stale() -> set[str]:
        with Inventory([harness.engine], options={harness.engine: harness.options}) as inventory:
            found = inventory.stale_images(time.time() - moment)
        return {word for each in found for word in each.status.names} & {*names}

    box = new_box()
    try:
        for each in (old, used, busy):
            box.snapshot(each)
        user = new_box(image=busy)
        time.sleep(1.5)  # some tell whole seconds
        moment = time.time()
        time.sleep(1.5)
        new_box(image=used).close()
        box.snapshot(young)
        assert stale() == {old}
        user.close()
        assert stale() == {old, busy}
    finally:
        for image in engine.images():
            if {*image.names} & {*names} and not image.used_by:
                engine.remove_image(image.id)


@requires(Capability.BUILD)
def test_build_is_listed_and_removed(engine: Engine, name: str, new_box: NewBox, harness: Harness) -> None:
    """A build is listed under every name that it was given, and removed with all of them; then it is built anew.

    Why: with one name gone the image still fills the disk under the other one.
    Check: that builds are known as samebox's, and what `remove_image` takes away.
    """
    text = f"FROM {harness.build_base}\nRUN echo {name} > /etc/built\n"
    settings = {"image": None, "build": {"dockerfile": text, "tag": f"{name}:1"}}
    box = new_box(**settings)
    (image,) = found(engine, f"{name}:1")
    assert (image.kind, image.used_by) == ("build", (box.name,))
    assert len(image.names) == 2
    assert image.size > 0
    box.close()
    engine.remove_image(f"{name}:1")
    assert not [each for word in (*image.names, image.id) for each in found(engine, word)]
    assert new_box(**settings).read_text("/etc/built") == f"{name}\n"


@requires(Capability.ARCHIVE_IMAGE)
def test_archive_is_listed_and_removed(new_box: NewBox, engine: Engine, tmp_path: Path) -> None:
    """An archive that was imported or unpacked is listed, not removed while it is used, and brought again when needed.

    Why: archives are brought once for each content, so that each change of one leaves the one before.
    Check: that what was brought can be told from the user's own images, and is locked while it is used.
    """
    (tmp_path / "data").write_bytes(secrets.token_bytes(MEBIBYTE))
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(tmp_path / "data", "data")
    before = {image.id for image in engine.images()}
    box = new_box(image=f"tar:{tmp_path}/image.tar")
    (image,) = [image for image in engine.images() if image.id not in before and box.name in image.used_by]
    assert image.kind == "archive"
    assert image.size >= MEBIBYTE
    with pytest.raises(EngineError, match=f"is in use by {box.name}; remove that first"):
        engine.remove_image(image.id)
    box.close()
    engine.remove_image(image.id)
    assert found(engine, image.id) == []
    again = new_box(image=f"tar:{tmp_path}/image.tar")
    assert again.stat("/data").size == MEBIBYTE
    (image,) = [image for image in engine.images() if again.name in image.used_by]
    again.close()
    engine.remove_image(image.id)


def test_unknown_image_is_not_removed(engine: Engine) -> None:
    """An image that nobody has made is an error with its name.

    Why: "removed", said of a misspelled name, leaves what was to go.
    Check: that images are looked for before one is removed.
    """
    for name in ("samebox-conformance-no-such-image", "sha256:" + "0" * 64):
        with pytest.raises(ImageNotFoundError, match=f"there is no image {name!r} that samebox made on"):
            engine.remove_image(name)
