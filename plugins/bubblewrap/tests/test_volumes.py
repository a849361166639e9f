"""Volumes: made, shared, listed, removed, and never while a sandbox of any process has them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samebox.errors import ConfigError, EngineError, UnsupportedError
from samebox_bubblewrap.directories import remove_tree
from samebox_bubblewrap.engine import BubblewrapEngine
from samebox_bubblewrap.volumes import VolumeStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    """Return a place for volumes."""
    return VolumeStore(tmp_path / "volumes")


@pytest.fixture
def boxes(make_box: Callable[..., Sandbox], store: VolumeStore) -> Callable[..., Sandbox]:
    """Return what makes sandboxes with volumes there."""
    return lambda *mounts, **settings: make_box(mounts=mounts, options={"volume_dir": str(store.directory)}, **settings)


@pytest.fixture
def volume_engine(engine: BubblewrapEngine, store: VolumeStore) -> Iterator[BubblewrapEngine]:
    """Return an engine with volumes there."""
    assert engine.name == "bubblewrap"
    found = BubblewrapEngine({"volume_dir": str(store.directory)})
    yield found
    found.close()


@pytest.mark.parametrize("user", [None, "alice"])
def test_shared_kept_and_removed(
    boxes: Callable[..., Sandbox], volume_engine: BubblewrapEngine, rootfs: Path, user: str | None
) -> None:
    """Its files outlive a sandbox, belong to the next one's user, and go with it when nobody uses it."""
    first = boxes("work:/data", "work:/again:ro", labels={"team": "a"})
    first.sh("umask 077; mkdir /data/d && echo kept > /data/d/file").check()
    assert first.read_text("/again/d/file") == "kept\n"
    second = boxes("work:/workspace", image=f"dir:{rootfs}", user=user, read_only=True)
    if os.geteuid() == 0:
        # It is the first one's, as with Docker: another one can't even look into what is closed to all.
        with pytest.raises(PermissionError):
            second.read_text("d/file")
        second.close()
        second = boxes("work:/workspace", image=f"dir:{rootfs}", user="1000:1000", read_only=True)
    second.write_text("d/file", "by another")
    assert first.read_text("/data/d/file") == "by another"
    (status,) = volume_engine.volumes()
    assert (status.name, dict(status.labels)) == ("work", {"team": "a", "samebox.managed": "1"})
    assert status.created is not None
    first.close()
    with pytest.raises(EngineError, match="volume 'work' is in use by a sandbox"):
        volume_engine.remove_volume("work")
    second.close()
    volume_engine.remove_volume("work")
    assert volume_engine.volumes() == []
    volume_engine.remove_volume("work")
    volume_engine.remove_volume("../work")


def test_one_that_is_refused_makes_none(boxes: Callable[..., Sandbox], store: VolumeStore) -> None:
    """A config with another mistake leaves no volume behind; one with a taken name does not keep it in use."""
    with pytest.raises(ConfigError):
        boxes("work:/data", "/absent:/mnt").start()
    with pytest.raises(UnsupportedError):
        boxes("work:/data:U").start()
    assert list(store.volumes()) == []
    with pytest.raises(ConfigError, match="has no such directory"):
        boxes("work:/data", workdir="/data/absent").start()
    boxes("work:/data", workdir="/data").write_text("x", "x")
    assert (store.data("work") / "x").read_text() == "x"


def test_nobody_else_gets_at_it(boxes: Callable[..., Sandbox], store: VolumeStore) -> None:
    """Other users of the host must not reach what a sandbox leaves there, which is no setuid program either."""
    assert boxes("work:/data").sh("cp /bin/sh /data/sh && chmod 4755 /data/sh").exit_code == 1
    assert (store.directory / "work/data/sh").stat().st_mode & 0o7000 == 0
    assert (store.directory / "work").stat().st_mode & 0o777 == 0o700


def test_user_of_another_process_counts(store: VolumeStore, tmp_path: Path) -> None:
    """Also when that is killed: the kernel lets go of it then."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from samebox_bubblewrap.volumes import VolumeStore\n"
        f"use = VolumeStore(Path({str(store.directory)!r})).use('work', {{}})\n"
        "print('on', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "on\n"
        with pytest.raises(EngineError, match="in use"):
            store.remove("work")
        other.kill()
        other.wait()
    store.remove("work")
    assert list(store.directory.iterdir()) == []


def test_many_at_once(store: VolumeStore) -> None:
    """Makers and removers race: a volume in use is always there whole."""

    def work(_number: int) -> None:
        for _ in range(50):
            use = store.use("work", {})
            assert store.data("work").is_dir()
            use.close()
            try:
                store.remove("work")
            except EngineError as error:
                assert "in use" in str(error)  # noqa: PT017 - one of two right outcomes

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))


def test_hostile_content_is_removed(
    boxes: Callable[..., Sandbox], volume_engine: BubblewrapEngine, tmp_path: Path
) -> None:
    """Depth, modes, links and FIFOs of a volume neither keep it nor lead out of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    script = (
        "import os\n"
        "os.chdir('/data')\n"
        f"os.symlink({str(outside)!r}, 'link'); os.symlink('.', 'self'); os.mkfifo('fifo')\n"
        "os.mkdir('closed'); os.mkdir('closed/in'); os.chmod('closed/in', 0); os.chmod('closed', 0)\n"
        "for _ in range(3000):\n"
        "    os.mkdir('d'); os.chdir('d')\n"
        "os.chmod('.', 0)\n"
    )
    box = boxes("work:/data")
    box.exec(["python3", "-c", script], timeout=60).check()
    box.close()
    volume_engine.remove_volume("work")
    assert (outside / "file").read_text() == "kept"
    assert list((tmp_path / "volumes").iterdir()) == []


def test_what_a_killed_remover_left(store: VolumeStore) -> None:
    """It goes with the next volume that is removed, and is never listed."""
    store.use("work", {}).close()
    (store.directory / ".gone-1/data/x").mkdir(parents=True)
    assert [status.name for status in store.volumes()] == ["work"]
    store.remove("work")
    assert list(store.directory.iterdir()) == []


def test_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME is followed; a place that can't be used is named."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert VolumeStore().directory == tmp_path / "samebox/bubblewrap/volumes"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert VolumeStore().directory == Path("~/.local/share/samebox/bubblewrap/volumes").expanduser()
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"options.volume_dir chooses another place"):
        VolumeStore(tmp_path / "file/x").use("work", {})


def test_removal_that_fails_is_told(tmp_path: Path) -> None:
    """What is no directory is not touched."""
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        remove_tree(tmp_path / "link")
    assert os.path.islink(tmp_path / "link")
