"""Root file systems: directories and archives, the cache, and what hostile ones try."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samebox.engine.oci.bounded import ArchiveError
from samebox.errors import ConfigError, EngineError, ImageNotFoundError, UnsupportedError
from samebox_bubblewrap.images import ImageStore
from samebox_bubblewrap.unpack import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox


def silent(_line: str) -> None:
    """Tell nobody."""


def pack(*members: tuple[str, bytes | str | None] | tarfile.TarInfo) -> bytes:
    """Make a tar archive: bytes are a file, a text is a link's target, None is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(bytes(member.size)))
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def special(name: str, kind: bytes, linkname: str = "", **more: Any) -> tarfile.TarInfo:
    """Make a member of another kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    for key, value in more.items():
        setattr(info, key, value)
    return info


def unpacked(root: Path, *archives: bytes, layer: bool = True, **limits: int) -> list[str]:
    """Unpack archives over one another and list what is there."""
    root.mkdir()
    unpacker = Unpacker(root, **limits)
    for archive in archives:
        unpacker.add(io.BytesIO(archive), layer=layer)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_layers_and_whiteouts(tmp_path: Path) -> None:
    """Later layers replace and remove; an opaque directory loses what earlier ones had, and not what it has itself."""
    first = pack(
        ("a", None), ("a/old", b"1"), ("a/gone", b"1"), ("b", None), ("b/x", b"1"), ("c", b"1"), ("d/e/f", b"1")
    )
    second = pack(
        ("a/.wh.gone", b""),
        ("a/old", b"2"),
        ("b/new", b"2"),
        ("b/.wh..wh..opq", b""),
        ("b/later", b"2"),
        (".wh.c", b""),
        ("d/e", b"now a file"),
        (".wh..wh.plnk", None),
    )
    assert unpacked(tmp_path / "r", first, second) == ["a", "a/old", "b", "b/later", "b/new", "d", "d/e"]
    assert (tmp_path / "r/a/old").read_bytes() == b"2"


def test_whiteouts_mean_nothing_in_a_plain_root_file_system(tmp_path: Path) -> None:
    """A file that is called so is a file."""
    assert unpacked(tmp_path / "r", pack((".wh.x", b"")), layer=False) == [".wh.x"]


def test_modes_and_owners(tmp_path: Path) -> None:
    """Modes are kept, but for setuid and setgid; directories let their owner in; everything is the caller's."""
    members = [special("suid", tarfile.REGTYPE, mode=0o6755), special("sticky", tarfile.DIRTYPE, mode=0o1777)]
    members += [
        special("locked", tarfile.DIRTYPE, mode=0o000, uid=0, gid=0),
        special("ro", tarfile.REGTYPE, mode=0o444),
    ]
    unpacked(tmp_path / "r", pack(*members))
    modes = {path.name: oct(path.stat().st_mode & 0o7777) for path in (tmp_path / "r").iterdir()}
    assert modes == {"suid": "0o755", "sticky": "0o1777", "locked": "0o700", "ro": "0o444"}
    assert {path.stat().st_uid for path in (tmp_path / "r").iterdir()} == {os.geteuid()}


def test_links_inside_are_followed_as_from_inside(tmp_path: Path) -> None:
    """Debian's /lib is a link to usr/lib, and layers write through it; absolute links begin at the image's root."""
    archive = pack(("usr/lib", None), ("lib", "usr/lib"), ("lib/x", b"1"), ("abs", "/usr"), ("abs/lib/y", b"1"))
    assert unpacked(tmp_path / "r", archive) == ["abs", "lib", "usr", "usr/lib", "usr/lib/x", "usr/lib/y"]


def test_hard_links(tmp_path: Path) -> None:
    """A link to a file of the archive shares it."""
    archive = pack(("a/x", b"1"), special("b", tarfile.LNKTYPE, "a/x"), special("c", tarfile.LNKTYPE, "/a/x"))
    unpacked(tmp_path / "r", archive)
    assert len({(tmp_path / "r" / name).stat().st_ino for name in ("a/x", "b", "c")}) == 1


@pytest.mark.parametrize(
    "members",
    [
        [("../out", b"x")],
        [("a/../../out", b"x")],
        [(".wh...", b"")],
        [(".wh..", b"")],
        [special("x", tarfile.LNKTYPE, "../victim")],
        [special("x", tarfile.LNKTYPE, "missing")],
        [("d", None), special("x", tarfile.LNKTYPE, "d")],
        [("/".join("a" * 300), b"x")],
        [special("big", tarfile.REGTYPE, size=2000)],
        [(str(number), b"") for number in range(30)],
    ],
)
def test_hostile_members_are_refused(tmp_path: Path, members: list[Any]) -> None:
    """Names and links that lead out, odd whiteouts, and more than the bounds."""
    (tmp_path / "victim").write_text("mine")
    with pytest.raises(ArchiveError):
        unpacked(tmp_path / "r", pack(*members), most_bytes=1000, most_members=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "victim"]
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize("target", ["../victims", "/../victims", "{outside}"])
def test_nothing_is_written_through_links(tmp_path: Path, target: str) -> None:
    """A link that leads out, and then a file, a directory, a link and whiteouts below it: all of it stays inside."""
    victims = tmp_path / "victims"
    victims.mkdir()
    (victims / "mine").write_text("mine")
    link = target.format(outside=victims)
    first = pack(("l", link), ("l/new", b"x"), ("l/mine", b"overwritten"), ("l/dir", None), ("l", link), ("l", b"file"))
    second = pack(("m", link), ("m/.wh.mine", b""), ("m/.wh..wh..opq", b""), special("h", tarfile.LNKTYPE, "m/mine"))
    try:
        unpacked(tmp_path / "r", first, second)
    except ArchiveError as error:
        assert "hard link" in str(error)  # noqa: PT017
    assert [path.name for path in victims.iterdir()] == ["mine"]
    assert (victims / "mine").read_text() == "mine"


def test_devices_are_left_out(tmp_path: Path) -> None:
    """Neither devices nor FIFOs are made."""
    kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    assert unpacked(tmp_path / "r", pack(*(special(f"n{kind!r}", kind) for kind in kinds))) == []


def test_endless_headers_cost_no_memory(tmp_path: Path) -> None:
    """A header that claims gigabytes, and a size that leads backwards."""
    huge = special("x", tarfile.XHDTYPE, size=8 << 30).tobuf(tarfile.GNU_FORMAT)
    for archive in (huge, special("x", tarfile.GNUTYPE_LONGNAME, size=8 << 30).tobuf(tarfile.GNU_FORMAT)):
        with pytest.raises(ArchiveError):
            unpacked(tmp_path / hashlib.sha256(archive).hexdigest(), archive + bytes(2048))


@pytest.mark.parametrize("cut", [700, 100])
def test_broken_archives_are_refused(tmp_path: Path, cut: int) -> None:
    """An archive that ends inside a file or a header."""
    with pytest.raises(ArchiveError):
        unpacked(tmp_path / "r", pack(("x", bytes(1000)))[:cut])


def docker_archive(rootfs: Path, **config: Any) -> bytes:
    """Make what `docker save` writes, of two layers."""
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as tar:
        tar.add(rootfs, arcname=".")
    layers = [base.getvalue(), pack(("etc/layer", b"two\n"), ("var/.wh..wh..opq", b""))]
    names = [f"{hashlib.sha256(layer).hexdigest()}/layer.tar" for layer in layers]
    manifest = [{"Config": "c" * 64 + ".json", "RepoTags": ["test:latest"], "Layers": names}]
    document = {"architecture": "amd64", "config": config}
    members = [("manifest.json", json.dumps(manifest).encode()), ("c" * 64 + ".json", json.dumps(document).encode())]
    return pack(*zip(names, layers, strict=True), *members)


def oci_archive(rootfs: Path, architecture: str = "amd64", **config: Any) -> bytes:
    """Make what OCI tools write, of one compressed layer."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w:gz") as tar:
        tar.add(rootfs, arcname=".")
    blobs: dict[str, bytes] = {}

    def blob(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    configured = blob(json.dumps({"config": config}).encode())
    manifest = blob(json.dumps({"config": configured, "layers": [blob(layer.getvalue())]}).encode())
    manifest["platform"] = {"os": "linux", "architecture": architecture}
    index = json.dumps({"manifests": [{**manifest, "platform": {"architecture": "s390x"}}, manifest]}).encode()
    return pack(("oci-layout", b"{}"), ("index.json", index), *blobs.items())


def machine() -> str:
    """Return this processor's name in images."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


@pytest.mark.parametrize("compress", [False, True])
def test_docker_archive(make_box: Callable[..., Sandbox], rootfs: Path, tmp_path: Path, compress: bool) -> None:  # noqa: FBT001
    """`docker save`: its layers in order, its environment and its user; compressed as a whole or not."""
    data = docker_archive(rootfs, Env=["PATH=/opt:/bin", "LD_PRELOAD=/evil.so", "WORD=a=b"], User="alice")
    (tmp_path / "image.tar").write_bytes(gzip.compress(data) if compress else data)
    box = make_box(image=f"tar:{tmp_path}/image.tar")
    assert box.exec(["/bin/id"]).text.startswith("uid=1234(alice) gid=1235(alice)")
    assert box.read_text("/etc/layer") == "two\n"
    environment = box.exec(["env"]).text.splitlines()
    assert {"PATH=/opt:/bin", "WORD=a=b", "HOME=/home/alice"} <= set(environment)


def test_oci_archive(make_box: Callable[..., Sandbox], rootfs: Path, tmp_path: Path) -> None:
    """An OCI archive, from whose index this processor's manifest is taken."""
    (tmp_path / "image.tar").write_bytes(oci_archive(rootfs, machine(), Env=["WORD=oci"]))
    box = make_box(image=f"tar:{tmp_path}/image.tar")
    assert box.sh("echo $WORD; id -u").text == "oci\n0\n"


@pytest.mark.parametrize("kind", ["dir", "tar"])
def test_writes_are_private_and_gone(make_box: Callable[..., Sandbox], rootfs: Path, tmp_path: Path, kind: str) -> None:
    """What a sandbox writes is seen by no other one and reaches neither the directory nor the cache."""
    image = f"dir:{rootfs}"
    if kind == "tar":
        with tarfile.open(tmp_path / "r.tar", "w") as tar:
            tar.add(rootfs, arcname="/")
        image = f"tar:{tmp_path}/r.tar"
    first, second = make_box(image=image), make_box(image=image)
    assert first.sh("echo x > /etc/passwd; rm /bin/echo; echo x > /new; touch /home/alice/x").ok
    assert second.sh("cat /etc/passwd; ls /bin/echo /home/alice").text.startswith("root:x:0:0")
    assert not second.exists("/new")
    first.close()
    assert (rootfs / "etc/passwd").read_text().startswith("root:x:0:0")
    assert not (rootfs / "new").exists()
    assert not any((rootfs / name).exists() for name in ("proc", "dev", ".samebox", "workspace"))


def test_mount_points_follow_no_link_to_the_host(
    make_box: Callable[..., Sandbox], rootfs: Path, tmp_path: Path
) -> None:
    """Bwrap follows links in the image while the host is still mounted at /oldroot: it made directories on the host."""
    victim = tmp_path / "victim"
    victim.mkdir()
    image = tmp_path / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    for name in ("workspace", "scratch"):
        (image / name).symlink_to(f"/oldroot{victim}/{name}")
    (image / "etc/hosts").symlink_to(f"../../oldroot{victim}/hosts")
    (image / "up").symlink_to(f"../../../../../../../../oldroot{victim}")
    box = make_box(image=f"dir:{image}", tmpfs={"/scratch": None, "/up/there": None})
    assert box.sh("pwd; touch x; ls").text.endswith("x\n")
    box.close()
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("name", ["proc", "dev", ".samebox"])
def test_images_without_room_for_what_is_needed(
    make_box: Callable[..., Sandbox], rootfs: Path, tmp_path: Path, name: str
) -> None:
    """An image whose /proc is a link is refused by name."""
    image = tmp_path / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    (image / name).symlink_to("/oldroot/tmp")
    with pytest.raises(EngineError, match=f"can't be used: its /{name} is not a directory"):
        make_box(image=f"dir:{image}").start()


def test_directory_of_another_owner(make_box: Callable[..., Sandbox], rootfs: Path, tmp_path: Path) -> None:
    """Files of others are nobody's inside and can't be changed; workdir and /tmp can be written all the same."""
    image = tmp_path / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    (image / "srv/work").mkdir(parents=True)
    (image / "srv/work/there").write_text("before\n")
    if os.geteuid() == 0:
        for path in [image, *image.rglob("*")]:
            os.lchown(path, 12345, 12345)
    else:
        pytest.skip("only root can give files away; the images of other owners are root's own for an ordinary user")
    for workdir in ("/workspace", "/srv/work", "/srv/new/deep"):
        box = make_box(image=f"dir:{image}", workdir=workdir)
        assert box.sh("echo x > x && cat x && touch /tmp/y && ls /tmp").text == "x\ny\n", workdir
        assert b"denied" in box.sh("echo x > /home/alice/x").stderr
    assert make_box(image=f"dir:{image}", workdir="/srv/work").read_text("there") == "before\n"
    box = make_box(image=f"dir:{image}", read_only=True, workdir="/srv/new")
    assert box.sh("echo x > x && cat x").text == "x\n"
    assert b"Read-only" in box.sh("echo x > /srv/y").stderr


def test_cache_unpacks_once(tmp_path: Path, rootfs: Path) -> None:
    """The same content is unpacked once, whatever its file is called, and nothing but it is left in the cache."""
    data = docker_archive(rootfs)
    told: list[str] = []
    for name in ("a.tar", "b.tar", "a.tar"):
        (tmp_path / name).write_bytes(data)
        image = ImageStore(tmp_path / "cache").ensure(f"tar:{tmp_path}/{name}", told.append)
    assert told == [f"unpacking {tmp_path}/a.tar"]
    assert image == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert [path.name for path in (tmp_path / "cache/images-2").iterdir()] == [image.partition(":")[2]]
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


ENSURE = """
import sys, pathlib
from samebox_bubblewrap.images import ImageStore
ImageStore(pathlib.Path(sys.argv[1])).ensure("tar:" + sys.argv[2], print)
"""


def test_two_processes_unpack_once(tmp_path: Path, rootfs: Path) -> None:
    """Whoever comes second waits and takes what is there."""
    (tmp_path / "a.tar").write_bytes(docker_archive(rootfs))
    argv = [sys.executable, "-c", ENSURE, str(tmp_path / "cache"), str(tmp_path / "a.tar")]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert "".join(said) == f"unpacking {tmp_path}/a.tar\n"


def test_failed_and_killed_unpacking_leaves_nothing(tmp_path: Path, rootfs: Path) -> None:
    """A broken archive leaves no directory, and what a killed process left is taken away by the next."""
    store = ImageStore(tmp_path / "cache")
    (tmp_path / "bad.tar").write_bytes(pack(("x", b"x"), ("../out", b"x")))
    with pytest.raises(ConfigError) as caught:
        store.ensure(f"tar:{tmp_path}/bad.tar", silent)
    assert f"{tmp_path}/bad.tar can't be unpacked: a name with '..' or too many components (at '../out')" in str(
        caught.value
    )
    assert list((tmp_path / "cache/images-2").iterdir()) == []
    data = docker_archive(rootfs)
    (tmp_path / "good.tar").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    partial = tmp_path / "cache/images-2" / f".new-{digest}"
    (partial / "rootfs/junk").mkdir(parents=True)
    store.ensure(f"tar:{tmp_path}/good.tar", silent)
    assert [path.name for path in (tmp_path / "cache/images-2").iterdir()] == [digest]
    assert not (tmp_path / "cache/images-2" / digest / "rootfs/junk").exists()
    assert list((tmp_path / "cache/locks").iterdir()) == []


@pytest.mark.parametrize(
    ("reference", "error", "said"),
    [
        ("busybox", UnsupportedError, "engine are 'host', 'dir:/path'"),
        ("tar:", ConfigError, "a path is missing, as in 'tar:/path'"),
        ("dir:{tmp}/none", ImageNotFoundError, "there is no directory {tmp}/none; unpack a root file system there"),
        ("tar:{tmp}/none", ImageNotFoundError, "no file {tmp}/none (No such file or directory); `docker save -o FILE"),
        ("tar:{tmp}", ImageNotFoundError, "(Is a directory)"),
        ("tar:{tmp}/text", ConfigError, "{tmp}/text can't be unpacked: it is no tar archive"),
        ("tar:{tmp}/two.tar", ConfigError, "it holds 2 images (a:1, b:2); save one alone"),
        ("tar:{tmp}/json.tar", ConfigError, "'manifest.json' is not JSON"),
        ("tar:{tmp}/odd.tar", ConfigError, "its manifest.json is not as `docker save` writes it"),
        ("tar:{tmp}/lost.tar", ConfigError, "it has no file"),
        ("tar:{tmp}/s390x.tar", ConfigError, "it is for s390x, not for"),
        ("tar:{tmp}/cut.tar.gz", ConfigError, "can't be unpacked"),
    ],
)
def test_unusable_images_are_explained(tmp_path: Path, reference: str, error: type[Exception], said: str) -> None:
    """The text has the reference, the path and what is wrong."""
    image = {"Config": "c.json", "Layers": []}
    index = {"manifests": [{"digest": "sha256:" + "0" * 64, "platform": {"architecture": "s390x"}}]}
    files = {
        "text": b"no archive\n" * 100,
        "two.tar": pack(("manifest.json", json.dumps([{"RepoTags": ["a:1"]}, {"RepoTags": ["b:2"]}]).encode())),
        "json.tar": pack(("manifest.json", b"{" * 5000)),
        "odd.tar": pack(("manifest.json", b'{"Config": 1}')),
        "lost.tar": pack(("manifest.json", json.dumps([image]).encode())),
        "s390x.tar": pack(("index.json", json.dumps(index).encode())),
        "cut.tar.gz": gzip.compress(pack(("x", os.urandom(3000))))[:1000],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(error) as caught:
        ImageStore(tmp_path / "cache").ensure(reference.format(tmp=tmp_path), silent)
    assert f"image={reference.format(tmp=tmp_path)!r}: " in str(caught.value)
    assert said.format(tmp=tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        *({"Env": 5}, {"Env": {"A": "1"}}, {"Env": [1]}, {"Env": ["A=\0"]}, {"Env": ["A=\ud800"]}),
        *({"User": "\0"}, {"User": 1}, {"User": "\udcff"}),
    ],
    ids=repr,
)
def test_configs_of_the_wrong_shape(tmp_path: Path, config: dict[str, object]) -> None:
    """JSON that is none of an image's config is a ConfigError, and nothing is left of the image."""
    manifest = [{"Config": "c.json", "Layers": []}]
    files = ("manifest.json", json.dumps(manifest).encode()), ("c.json", json.dumps({"config": config}).encode())
    (tmp_path / "odd.tar").write_bytes(pack(*files))
    with pytest.raises(ConfigError, match=r"can't be unpacked: its (config's )?Env "):
        ImageStore(tmp_path / "cache").ensure(f"tar:{tmp_path}/odd.tar", silent)
    assert list((tmp_path / "cache/images-2").iterdir()) == []


@pytest.mark.parametrize("free", [100, 200_000])
def test_room_is_looked_at_before_it_is_used(
    tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """A disk that is too small for the archive, or for a file of it, is named with what is needed and what is there."""
    data = docker_archive(rootfs)
    (tmp_path / "a.tar").write_bytes(data)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1 << 40, 0, free))
    with pytest.raises(EngineError, match=rf"it needs at least \d+ bytes, and .*images-2.* has {free} bytes free"):
        ImageStore(tmp_path / "cache").ensure(f"tar:{tmp_path}/a.tar", silent)
    assert list((tmp_path / "cache/images-2").iterdir()) == []


def test_cache_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$XDG_CACHE_HOME, ~/.cache without it, and the option before both."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ImageStore().directory == tmp_path / "samebox/bubblewrap"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert ImageStore().directory == Path("/home/me/.cache/samebox/bubblewrap")
    assert ImageStore(tmp_path / "x").directory == tmp_path / "x"


def test_cache_that_can_not_be_written_is_named(tmp_path: Path, rootfs: Path) -> None:
    """The text says which directory it is and which option chooses another."""
    (tmp_path / "file").write_text("")
    (tmp_path / "a.tar").write_bytes(docker_archive(rootfs))
    with pytest.raises(EngineError, match=r"the cache .*/file/x can't be used .*; options.cache_dir chooses another"):
        ImageStore(tmp_path / "file/x").ensure(f"tar:{tmp_path}/a.tar", silent)


def test_directories_of_the_image_user_are_writable(
    make_box: Callable[..., Sandbox], rootfs: Path, tmp_path: Path
) -> None:
    """What an archive says is the user's can be written to by it, with what is in it; the rest can not."""
    layer = pack(
        special("app", tarfile.DIRTYPE, uid=1234, mode=0o755),
        special("app/data", tarfile.DIRTYPE, uid=1234, mode=0o755),
        special("app/data/there", tarfile.REGTYPE, uid=1234, mode=0o644),
        special("lib", tarfile.DIRTYPE, uid=0, mode=0o755),
    )
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as tar:
        tar.add(rootfs, arcname=".", filter=lambda info: info.replace(uid=0, deep=False))
    manifest = json.dumps([{"Config": "c" * 64 + ".json", "Layers": ["a" * 64 + ".tar", "b" * 64 + ".tar"]}]).encode()
    config = json.dumps({"config": {"User": "alice"}}).encode()
    blobs = [("a" * 64 + ".tar", base.getvalue()), ("b" * 64 + ".tar", layer), ("c" * 64 + ".json", config)]
    (tmp_path / "image.tar").write_bytes(pack(*blobs, ("manifest.json", manifest)))
    box = make_box(image=f"tar:{tmp_path}/image.tar", workdir="/app")
    assert box.sh("ls data && echo x > data/new && echo y > new && cat data/new new").text == "there\nx\ny\n"
    assert b"Read-only" in box.sh("echo x > /lib/new").stderr
    assert box.sh("cd /home/alice && echo z > z && cat z").text == "z\n"


def test_image_from_scratch(make_box: Callable[..., Sandbox], tmp_path: Path) -> None:
    """An empty image: no shell, no directory, and yet files work, read-only too."""
    (tmp_path / "empty").mkdir()
    for read_only in (False, True):
        box = make_box(image=f"dir:{tmp_path}/empty", read_only=read_only)
        box.write_text("x", "y")
        assert box.read_text("/workspace/x") == "y"
        assert box.exec(["sh"]).exit_code == 127
