"""Snapshots: what a hostile sandbox can put into one, and the names under which they are kept."""

from __future__ import annotations

import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest

from interpreter import run_python
from samebox import Capability, ConfigError, EngineError, ImageNotFoundError, SandboxGoneError, UnsupportedError
from samebox_bubblewrap import layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox
    from samebox_bubblewrap.engine import BubblewrapEngine

pytestmark = pytest.mark.usefixtures("no_images")


@pytest.fixture
def made(cache: Path) -> Callable[[], list[Path]]:
    """Return what finds the root directories of the images that were made."""

    def find() -> list[Path]:
        return [path / "rootfs" for path in (cache / "images-2").glob("made-*")]

    return find


@pytest.fixture
def root_image(tmp_path: Path) -> Path:
    """Return a root file system with some files and no program."""
    root = tmp_path / "root"
    for name in ("etc", "tmp", "data", "bin"):
        (root / name).mkdir(parents=True)
    (root / "data" / "file").write_text("of the image")
    (root / "data" / "gone").write_text("of the image")
    (root / "data" / "mode").write_text("of the image")
    (root / "data" / "mode").chmod(0o640)
    os.link(root / "data" / "file", root / "data" / "same")
    return root


@pytest.fixture
def image(root_image: Path, request: pytest.FixtureRequest) -> str:
    """Return the root file system as an image of either kind."""
    if request.param == "dir":
        return f"dir:{root_image}"
    archive = root_image.with_suffix(".tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(root_image, ".")
    return f"tar:{archive}"


@pytest.mark.parametrize("image", ["dir", "tar"], indirect=True)
def test_snapshot_of_an_image(make_box: Callable[..., Sandbox], image: str) -> None:
    """Changes, removals and modes are in the snapshot of either kind of image, and in a snapshot of that."""
    box = make_box(image=image)
    box.remove("/data/gone")
    box.write_text("/data/file", "changed")
    box.write_text("kept", "of the workdir")
    box.chmod("/tmp", 0o1777)
    assert box.snapshot("snap") == "snap"
    other = make_box(image="snap")
    names = {info.name for info in other.list_dir("/data")}
    assert names == {"file", "mode", "same"}
    assert (other.read_text("/data/file"), other.read_text("kept")) == ("changed", "of the workdir")
    assert (other.read_text("/data/mode"), other.stat("/data/mode").mode & 0o777) == ("of the image", 0o640)
    assert other.stat("/tmp").mode & 0o7777 == 0o1777
    again = make_box(image=other.snapshot("again"))
    assert again.read_text("/data/file") == "changed"


@pytest.mark.parametrize("image", ["tar"], indirect=True)
def test_unchanged_files_take_no_room(
    make_box: Callable[..., Sandbox], image: str, made: Callable[[], list[Path]]
) -> None:
    """What the sandbox has not changed is linked to the unpacked archive's file."""
    box = make_box(image=image)
    box.write_text("/data/file", "changed")
    box.snapshot("snap")
    (root,) = made()
    assert (root / "data" / "mode").stat().st_nlink > 1
    assert (root / "data" / "file").stat().st_nlink == 1
    assert (root / "data" / "file").read_text() == "changed"


@pytest.mark.parametrize("user", [None, "0", "4321"])
def test_snapshot_of_the_host_image(make_box: Callable[..., Sandbox], user: str | None) -> None:
    """Over the host's programs only the sandbox's own files are kept, with modes, links and the user."""
    box = make_box(user=user)
    home = box.sh("echo $HOME").text.strip()
    script = "cd ~ && mkdir d && echo x > d/f && ln d/f same && ln -s /etc/shadow l && chmod 500 d && chmod 000 d/f"
    box.sh(f"{script}; cat /etc/passwd; ls /usr/bin | wc -l").check()
    box.snapshot("snap")
    other = make_box(image="snap", user=user)
    seen = other.sh("cd ~ && stat -c '%a %h %F' d d/f same l && readlink l && id -u && echo $HOME && ls /usr | wc -l")
    lines = seen.text.splitlines()
    assert lines[1:6] == [
        "0 2 regular file",
        "0 2 regular file",
        "777 1 symbolic link",
        "/etc/shadow",
        user or "1000",
    ], seen
    assert (lines[0], lines[6]) == ("500 2 directory", home)
    assert int(lines[7]) > 3, "the host's programs are not there"


def test_snapshot_keeps_a_user_that_was_made(make_box: Callable[..., Sandbox]) -> None:
    """A user that was added is known in the snapshot, and the image's own user is still the default."""
    box = make_box(user="0")
    box.chmod("/etc/passwd", 0o644)
    box.append("/etc/passwd", "app:x:77:77::/srv/app:/bin/sh\n")
    box.sh("mkdir -p /srv/app && rm /etc/os-release").check()
    box.snapshot("snap")
    other = make_box(image="snap", user="app")
    assert other.sh("id -un; echo $HOME; touch ~/new && ls ~; ls /etc/os-release").text.split() == [
        "app",
        "/srv/app",
        "new",
    ]
    assert make_box(image="snap").sh("id -un; touch ~/x && echo written").text.split() == ["sandbox", "written"]


def test_mounts_are_left_out_even_if_renamed(
    make_box: Callable[..., Sandbox], tmp_path: Path, made: Callable[[], list[Path]]
) -> None:
    """Nothing of a bind mount or a volume is copied, also when the directory above it is renamed."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "host").write_text("of the host")
    mounts = [f"{shared}:/a/b/dir", f"{shared}/host:/a/b/file", "vol:/a/vol"]
    box = make_box(user="0", mounts=mounts, options={"volume_dir": str(tmp_path / "volumes")})
    box.write_text("/a/vol/file", "of the volume")
    box.sh("mv /a /z && mkdir -p /a/b && echo mine > /a/mine").check()
    assert box.read_text("/z/b/file") == "of the host"
    box.snapshot("snap")
    (root,) = made()
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.parts[len(root.parts)] in {"a", "z"})
    assert found == ["a", "a/b", "a/mine", "z", "z/b"]


def test_links_are_not_followed(
    make_box: Callable[..., Sandbox], tmp_path: Path, made: Callable[[], list[Path]]
) -> None:
    """Links are copied as links, wherever they point, and a FIFO without waiting for a writer."""
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    box = make_box()
    box.sh(f"ln -s {secret} file; ln -s {tmp_path} dir; ln -s / root; mkfifo fifo").check()
    box.snapshot("snap")
    (root,) = made()
    kinds = {path.name: stat.S_IFMT(path.lstat().st_mode) for path in (root / "workspace").iterdir()}
    assert kinds == {"file": stat.S_IFLNK, "dir": stat.S_IFLNK, "root": stat.S_IFLNK, "fifo": stat.S_IFIFO}
    assert (root / "workspace" / "file").readlink() == secret


def test_no_setuid_and_no_device_comes_out(make_box: Callable[..., Sandbox], made: Callable[[], list[Path]]) -> None:
    """A copy has no setuid or setgid bit and no device, not even the one that overlays take for a removal."""
    box = make_box()
    box.sh("cp /bin/sh shell; chmod 6755 shell; mkdir -m 3777 dir; mknod null c 0 0; mknod zero c 1 5; true").check()
    box.snapshot("snap")
    (root,) = made()
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (root / "workspace").iterdir()}
    assert modes == {"shell": 0o755, "dir": 0o1777}


def test_a_tree_that_moves_while_it_is_copied(make_box: Callable[..., Sandbox], tmp_path: Path) -> None:
    """A directory that becomes a link to the host's in the middle of a copy leads nowhere."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("of the host")
    box = make_box()
    script = f"mkdir a b; while :; do echo x > a/file; mv a c; ln -s {secret} a; rm a; mv c a; rm a/file; done"
    with box.spawn(["sh", "-c", script]):
        for _ in range(20):
            box.snapshot("snap")
    seen = make_box(image="snap").sh("cat a/file c/file 2>/dev/null; true").text
    assert "host" not in seen


def test_bounds(make_box: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Depth, number and size are bounded, a hole takes no room, and a failed copy leaves nothing."""
    box = make_box()
    deep = make_box()
    deep.sh("i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done").check()
    with pytest.raises(EngineError, match=r"snap.*nested deeper than 256"):
        deep.snapshot("snap")
    box.sh("truncate -s 1T sparse && echo x >> sparse").check()
    box.snapshot("snap")
    size = make_box(image="snap").stat("sparse").size
    assert size == (1 << 40) + 2
    box.sh("i=0; while [ $i -lt 100 ]; do echo > f$i; i=$((i+1)); done").check()
    monkeypatch.setattr(layer, "_MOST_ENTRIES", 90)
    with pytest.raises(EngineError, match="more than 90 files"):
        box.snapshot("snap")
    monkeypatch.undo()
    monkeypatch.setattr("samebox_bubblewrap.snapshot.MOST_BYTES", 1000)
    box.sh("head -c 2000 /dev/urandom > data").check()
    with pytest.raises(EngineError, match="more than 1000 bytes"):
        box.snapshot("snap")
    left = {path.name for path in (cache / "images-2").iterdir() if path.name.startswith(".")}
    assert left == set()


@pytest.mark.parametrize("name", ["host", "dir:/x", "tar:/x", "UPPER", "", "a b", "../x", "a@sha256:0"])
def test_names(make_box: Callable[..., Sandbox], name: str) -> None:
    """A name that could be taken for another kind of image, or for a path, is refused."""
    with pytest.raises(ConfigError, match=r"an image that is made has a name|an image's name is as name:tag"):
        make_box().snapshot(name)


def test_a_name_that_nobody_gave(make_box: Callable[..., Sandbox]) -> None:
    """A name that no snapshot has is a container image's, which this engine has not got."""
    with pytest.raises(UnsupportedError, match="no-such-snapshot") as caught:
        make_box(image="no-such-snapshot").start()
    assert caught.value.capability is Capability.CONTAINER_IMAGE


def test_a_stopped_sandbox_has_no_files(make_box: Callable[..., Sandbox], engine: BubblewrapEngine) -> None:
    """What a stopped sandbox had written was in memory, and that is said."""
    box = make_box().start()
    engine.stop(box.id)
    with pytest.raises(SandboxGoneError, match="does not run"):
        engine.commit(box.id, "snap")


def test_name_is_given_anew_while_it_is_used(
    make_box: Callable[..., Sandbox], engine: BubblewrapEngine, made: Callable[[], list[Path]]
) -> None:
    """A sandbox keeps its image while the name goes to another; it can be removed when nobody has it."""
    box = make_box()
    box.write_text("file", "one")
    box.snapshot("snap")
    first = make_box(image="snap").start()
    box.write_text("file", "two")
    box.snapshot("snap")
    second = make_box(image="snap")
    assert (first.read_text("file"), second.read_text("file")) == ("one", "two")
    assert len(made()) == 2
    assert [image.names for image in engine.images()] == [(), ("snap",)]
    first.close()
    assert [image.names for image in engine.images()] == [("snap",)]
    with pytest.raises(EngineError, match=f"is in use by {second.name}; remove that first"):
        engine.remove_image("snap")
    assert len(made()) == 1, "an image that a sandbox has was removed"
    assert second.read_text("file") == "two"
    second.close()
    engine.remove_image("snap")
    assert made() == []


def test_another_process_has_it_too(make_box: Callable[..., Sandbox], cache: Path) -> None:
    """A snapshot outlives the process that made it."""
    box = make_box()
    box.write_text("file", "of the first process")
    box.snapshot("snap")
    box.close()
    code = (
        "import sys; from samebox import Sandbox\n"
        "with Sandbox(engine='bubblewrap', image='snap', options={'cache_dir': sys.argv[1]}) as box:\n"
        "    print(box.read_text('file'))"
    )
    done = run_python(code, str(cache))
    assert done.stdout == "of the first process\n", done.stderr


def test_what_a_killed_process_left_is_removed(make_box: Callable[..., Sandbox], cache: Path) -> None:
    """The next image that is made takes away what a killed maker has left."""
    box = make_box()
    box.snapshot("snap")
    left = cache / "images-2" / ".new-left"
    (left / "rootfs" / "deep").mkdir(parents=True)
    (left / "rootfs").chmod(0o500)
    box.snapshot("snap")
    assert not left.exists()


def test_image_is_removed_whatever_modes_it_has(
    make_box: Callable[..., Sandbox], engine: BubblewrapEngine, made: Callable[[], list[Path]]
) -> None:
    """Directories that can't be written are removed all the same, and what is not there is an error."""
    box = make_box()
    box.sh("mkdir -p a/b && echo x > a/b/c && chmod 500 a/b a").check()
    box.snapshot("snap")
    assert len(made()) == 1
    engine.remove_image("snap")
    assert made() == []
    with pytest.raises(ImageNotFoundError, match="there is no image 'snap' that samebox made on bubblewrap with the"):
        engine.remove_image("snap")
