"""The images in a user's cache: what they take, who has them, and how they are removed."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from samebox import ConfigError, EngineError, ImageNotFoundError
from samebox_bubblewrap import cached
from samebox_bubblewrap.directories import lockers
from samebox_bubblewrap.engine import BubblewrapEngine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox
    from samebox.engine import ImageStatus

pytestmark = pytest.mark.usefixtures("no_images")

_OTHER = """
import sys
from samebox import Sandbox
with Sandbox(engine="bubblewrap", image=sys.argv[1], options={"cache_dir": sys.argv[2]}) as box:
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """Return an image that is an archive."""
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(__file__, "file")
    return f"tar:{tmp_path}/image.tar"


def only(engine: BubblewrapEngine) -> ImageStatus:
    """Return the one image that there is."""
    (image,) = engine.images()
    return image


def test_an_image_of_another_process(
    make_box: Callable[..., Sandbox], engine: BubblewrapEngine, cache: Path, archive: str
) -> None:
    """It is in use by that process, whose number is said, until that ends, however it does."""
    make_box().snapshot("snap")
    for image in ("snap", archive):
        argv = [sys.executable, "-c", _OTHER, image, str(cache)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"ready\n"
            (used,) = [each for each in engine.images() if each.used_by]
            assert used.used_by == (f"a sandbox of process {other.pid}",)
            with pytest.raises(EngineError, match=f"is in use by a sandbox of process {other.pid}; remove that first"):
                engine.remove_image(used.id)
            other.kill()
        engine.remove_image(used.id)
        assert used.id not in {each.id for each in engine.images()}
    assert [*(cache / "digests").iterdir()] == []


def test_a_process_that_is_not_seen(
    make_box: Callable[..., Sandbox], engine: BubblewrapEngine, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock counts, also where nobody can tell whose it is."""
    box = make_box(image=archive).start()
    monkeypatch.setattr(cached.CachedImages, "_users", lambda _self, _identity: [])
    with pytest.raises(EngineError, match=r"is in use by a sandbox of another process; remove that first$"):
        engine.remove_image(only(engine).id)
    box.close()


def test_an_archive_that_was_removed_meanwhile(
    make_box: Callable[..., Sandbox], engine: BubblewrapEngine, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that is about to be made of it has it unpacked once more; its image is never half there."""
    create = BubblewrapEngine.create
    removed: list[str] = []

    def race(self: BubblewrapEngine, *args: object, **settings: object) -> str:
        if not removed:
            removed.append(only(engine).id)
            engine.remove_image(removed[0])
        return create(self, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(BubblewrapEngine, "create", race)
    lines: list[str] = []
    box = make_box(image=archive, progress=lines.append)
    assert box.exists("/file")
    assert len([line for line in lines if line.startswith("unpacking ")]) == 2
    with pytest.raises(ImageNotFoundError, match="was removed meanwhile"):
        engine.create(box.config, image="sha256:" + "0" * 64, name="none", labels={})


def test_what_a_dead_maker_left(engine: BubblewrapEngine, cache: Path, archive: str, tmp_path: Path) -> None:
    """It is no image, and whoever asks for the list takes it away; what is at work stays."""
    left = cache / "images-2" / ".new-left"
    (left / "rootfs").mkdir(parents=True)
    assert engine.images() == []
    assert not left.exists()
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../out"))
    with pytest.raises(ConfigError):
        engine._images.ensure(f"tar:{tmp_path}/bad.tar", lambda _line: None)
    engine._images.ensure(archive, lambda _line: None)
    written = cache / "digests" / "tmp-of-another-process"
    written.touch()
    engine.remove_image(only(engine).id)
    written.unlink()
    assert [path for name in ("digests", "locks", "images-2") for path in (cache / name).iterdir()] == []


def test_size(make_box: Callable[..., Sandbox], engine: BubblewrapEngine) -> None:
    """A file with two names counts once, and a hole takes nothing."""
    box = make_box()
    box.sh("head -c 1000000 /dev/urandom > data; ln data again; truncate -s 1G hole").check()
    box.snapshot("snap")
    assert 1_000_000 <= only(engine).size < 2_000_000


def test_lockers(tmp_path: Path) -> None:
    """Of a directory that nobody has locked, or that is not there, there are none."""
    assert lockers(tmp_path) == lockers(tmp_path / "none") == set()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        assert lockers(tmp_path) == {os.getpid()}
    finally:
        os.close(fd)
