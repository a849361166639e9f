"""Images that samebox has made: what each engine of containers promises of them, and of those that it has not made.

A plugin's tests give `engine`, `make`, `busybox` and `remove_image`, and beside them

* `ids`, which returns the ids of the images that the service has, by their full names,
* `tag`, which gives an image another name,
* `container`, which makes a container of an image, by no sandbox, and returns its name; it is gone after the test,
* `committed`, which makes an image of such a container, which does not stay.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import tarfile
from typing import TYPE_CHECKING

import pytest

from samebox.config.model import SandboxConfig
from samebox.errors import EngineError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from samebox import Sandbox
    from samebox.engine import Engine, ImageStatus

__all__ = [
    "mine",
    "saved",
    "test_a_build_of_nothing_but_its_base",
    "test_a_directory_that_is_in_use_and_changed",
    "test_an_archive_that_somebody_has_too",
    "test_any_container_keeps_an_image",
    "test_what_others_build_on_a_snapshot",
    "theirs",
]


@pytest.fixture
def mine(engine: Engine) -> Iterator[str]:
    """Return a name for an image of samebox's, which is gone after the test."""
    name = f"samebox-test-{secrets.token_hex(6)}"
    yield name
    for image in _found(engine, name):
        engine.remove_image(image.id)


@pytest.fixture
def theirs(remove_image: Callable[[str], None]) -> Iterator[str]:
    """Return a name for somebody else's image, which is gone after the test."""
    name = f"localhost/samebox-theirs-{secrets.token_hex(6)}:1"
    yield name
    remove_image(name)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return an archive as `docker save` writes it, which no service has seen yet, with an image of the year 2020."""
    layer = _tar({"file": secrets.token_bytes(1000)})
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {"architecture": machine, "os": "linux", "created": "2020-01-01T00:00:00Z", "config": {}, "rootfs": rootfs}
    manifest = [{"Config": "config.json", "RepoTags": ["their/image:1"], "Layers": ["layer.tar"]}]
    files = {"layer.tar": layer, "config.json": json.dumps(config).encode()}
    (tmp_path / "saved.tar").write_bytes(_tar({**files, "manifest.json": json.dumps(manifest).encode()}))
    return tmp_path / "saved.tar"


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _found(engine: Engine, name: str) -> list[ImageStatus]:
    return [image for image in engine.images() if image.called(name)]


def test_what_others_build_on_a_snapshot(
    make: Callable[..., Sandbox], engine: Engine, mine: str, theirs: str, committed: Callable[[str, str], str]
) -> None:
    """It has the snapshot's labels, and is somebody else's: it is neither listed nor removed."""
    with make() as box:
        box.snapshot(mine)
    (image,) = _found(engine, mine)
    identity = committed(image.id, theirs)
    assert not _found(engine, identity)
    for name in (theirs, identity):
        with pytest.raises(EngineError, match=f"the image '{name}' on .* was not made by samebox, and is not removed"):
            engine.remove_image(name)
    engine.remove_image(mine)
    assert not _found(engine, mine)
    with make(image=theirs) as box:
        assert box.exec(["true"]).ok


def test_a_build_of_nothing_but_its_base(
    make: Callable[..., Sandbox], engine: Engine, mine: str, busybox: str, ids: Callable[[], dict[str, str]]
) -> None:
    """It is an image of its own: the base, which somebody else has brought, stays when it is removed."""
    before = ids()[busybox]
    with make(image=None, build={"dockerfile": f"FROM {busybox}\n", "tag": mine}):
        pass
    (image,) = _found(engine, mine)
    assert image.id != before
    engine.remove_image(mine)
    assert ids()[busybox] == before


def test_an_archive_that_somebody_has_too(
    engine: Engine, saved: Path, theirs: str, tag: Callable[[str, str], None], ids: Callable[[], dict[str, str]]
) -> None:
    """Only samebox's own name goes: the archive may be of the very image that somebody has pulled."""
    identity = engine.ensure_image(SandboxConfig(image=f"tar:{saved}"), lambda _line: None)
    tag(identity, theirs)
    (image,) = _found(engine, identity)
    assert (image.kind, image.used_by) == ("archive", ())
    assert any(name.startswith("localhost/samebox-tar:") for name in image.names)
    engine.remove_image(identity)
    assert not _found(engine, identity)
    assert ids()[theirs] == identity
    assert not [name for name, each in ids().items() if each == identity and name != theirs]


def test_any_container_keeps_an_image(
    make: Callable[..., Sandbox],
    engine: Engine,
    mine: str,
    container: Callable[[str], str],
    ids: Callable[[], dict[str, str]],
) -> None:
    """One that nobody started and samebox did not make keeps it too, with all of its names."""
    with make() as box:
        box.snapshot(mine)
    (image,) = _found(engine, mine)
    user = container(image.id)
    before = ids()
    with pytest.raises(EngineError, match=f"the image '{mine}' on .* is in use by {user}; remove that first"):
        engine.remove_image(mine)
    assert {name for name, each in before.items() if each == image.id} == {
        name for name, each in ids().items() if each == image.id
    }


def test_a_directory_that_is_in_use_and_changed(make: Callable[..., Sandbox], engine: Engine, tmp_path: Path) -> None:
    """The import before is listed for as long as it is there, and can be removed."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("one")
    with make(image=f"dir:{root}") as box:
        (first,) = [image for image in engine.images() if box.name in image.used_by]
        assert first.kind == "directory"
        (root / "file").write_text("changed")
        second = engine.ensure_image(SandboxConfig(image=f"dir:{root}"), lambda _line: None)
        assert second != first.id
        assert [image.kind for image in _found(engine, first.id)] == ["directory"]
    for identity in (first.id, second):
        engine.remove_image(identity)
        with pytest.raises(ImageNotFoundError, match="there is no image"):
            engine.remove_image(identity)
