"""Image names, archives and directories: what is used, what is fetched, and what is said where there is none."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import os
import shutil
import socket
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samebox.config.model import SandboxConfig
from samebox.engine.oci.local_images import ARCHIVES
from samebox.errors import ConfigError, ImageNotFoundError, UnsupportedError
from samebox_podman.images import local_names, remote_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def ensure(engine: PodmanEngine) -> Callable[..., str]:
    """Return what makes an image available and tells its id."""

    def ensure(image: str | None, **settings: Any) -> str:
        lines: list[str] = settings.pop("lines", [])
        return engine.ensure_image(SandboxConfig(image=image, **settings), lines.append)

    return ensure


@pytest.fixture
def saved(client: PodmanClient, busybox: str, tmp_path: Path) -> Callable[[str], Path]:
    """Return what saves the busybox image in one of Podman's formats."""

    def saved(kind: str) -> Path:
        path = tmp_path / f"{kind}.tar"
        params = {"format": kind}
        answer = client.call("get", f"/images/{busybox.replace('/', '%2F')}/get", params=params)
        path.write_bytes(answer.content)
        return path

    return saved


@pytest.mark.parametrize(
    ("reference", "local", "remote"),
    [
        ("busybox", ["localhost/busybox", "docker.io/library/busybox", "busybox"], "docker.io/library/busybox"),
        ("me/tool:1", ["localhost/me/tool:1", "docker.io/me/tool:1", "me/tool:1"], "docker.io/me/tool:1"),
        (f"a@{DIGEST}", [f"localhost/a@{DIGEST}", f"docker.io/library/a@{DIGEST}", f"a@{DIGEST}"],
         f"docker.io/library/a@{DIGEST}"),
        ("quay.io/a/b", ["quay.io/a/b"], "quay.io/a/b"),
        ("host:5000/b:1", ["host:5000/b:1"], "host:5000/b:1"),
        ("localhost/b", ["localhost/b"], None),
        ("localhost:5000/b", ["localhost:5000/b"], "localhost:5000/b"),
        ("d673ceae650e", ["d673ceae650e"], None),
        (DIGEST, [DIGEST], None),
    ],
)  # fmt: skip
def test_names(reference: str, local: list[str], remote: str | None) -> None:
    """A short name means the same on every engine and host; what is below localhost/ never goes to the network."""
    assert local_names(reference) == local
    assert remote_name(reference) == remote


def test_a_short_name_is_found_where_it_is(ensure: Callable[..., str], client: PodmanClient, busybox: str) -> None:
    """localhost/ first, as Podman does, then docker.io; by id, and by its beginning if that is what was asked for."""
    image = ensure(busybox)
    short = busybox.removeprefix("localhost/")
    assert ensure(short) == image
    assert ensure(image) == image
    assert ensure(image[:12]) == image
    assert ensure(f"sha256:{image}") == image
    assert ensure("busybox") == image
    assert ensure(None) == image
    name = "samebox-test-short"
    client.call("post", f"/images/{image}/tag", params={"repo": f"localhost/{name}", "tag": "v1"})
    assert ensure(f"{name}:v1") == image


def test_the_beginning_of_an_id_is_no_name(ensure: Callable[..., str], busybox: str) -> None:
    """Podman would take it: `image="cafe"` could have run any image."""
    image = ensure(busybox)
    with pytest.raises(ImageNotFoundError):
        ensure(image[:6], pull="never")


def test_a_local_name_is_never_fetched(ensure: Callable[..., str], url: str) -> None:
    """Podman's own pull asks https://localhost/ for it, for three seconds."""
    lines: list[str] = []
    with pytest.raises(ImageNotFoundError) as caught:
        ensure("localhost/nosuch:1", lines=lines, pull="always")
    assert lines == []
    assert str(caught.value) == (
        f"image 'localhost/nosuch:1' is not on Podman at {url}, and names below localhost/ and ids are never fetched. "
        "Build it there with `podman build -t NAME DIRECTORY`, or load it with `podman load`. Rootless and rootful "
        "Podman, and each user, have images of their own."
    )


def test_an_image_that_can_not_be_fetched(ensure: Callable[..., str], url: str) -> None:
    """The text has the name, the address, Podman's words and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    reference = f"127.0.0.1:{port}/nosuch:1"
    lines: list[str] = []
    with pytest.raises(ImageNotFoundError) as caught:
        ensure(reference, lines=lines)
    text = str(caught.value)
    assert text.startswith(f"image '{reference}' is not on Podman at {url}, and fetching {reference} failed: ")
    assert "connection refused" in text
    assert f"(`podman pull {reference}` says more; `podman login` for a private registry)" in text
    assert lines[0] == f"fetching {reference}"
    assert any(line.startswith("Trying to pull ") for line in lines[1:])


def test_never_and_always(ensure: Callable[..., str], busybox: str) -> None:
    """`never` uses what is there; `always` asks the registry also then."""
    with pytest.raises(ImageNotFoundError, match=r'and it may not be fetched \(pull="never"\)'):
        ensure("docker.io/library/nosuch", pull="never")
    assert ensure(busybox, pull="never") == ensure(busybox, pull="always")


def test_what_is_no_reference(ensure: Callable[..., str]) -> None:
    """An error of the config, before anything else."""
    with pytest.raises(ConfigError) as caught:
        ensure("Bad Name")
    assert str(caught.value).startswith("wrong config: image = 'Bad Name': it is no image reference (Podman: ")
    assert "invalid reference format" in str(caught.value)


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_a_saved_image(
    make: Callable[..., Sandbox],
    ensure: Callable[..., str],
    client: PodmanClient,
    saved: Callable[[str], Path],
    kind: str,
) -> None:
    """It gets a name by its digest, and takes none of the names that it was saved with."""
    path = saved(kind)
    client.call("delete", f"/images/{ARCHIVES}:{_tag(path)}", accept=(404, 500))
    image = client.json("/images/docker.io%2Flibrary%2Fbusybox/json")["Id"]
    lines: list[str] = []
    found = ensure(f"tar:{path}", lines=lines)
    assert lines == [f"bringing {path} to Podman"]
    assert client.json("/images/docker.io%2Flibrary%2Fbusybox/json")["Id"] == image
    assert f"{ARCHIVES}:{_tag(path)}" in client.json(f"/images/{found}/json")["RepoTags"]
    with make(image=f"tar:{path}") as box:
        assert box.sh("echo here").text == "here\n"


def _tag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_root_file_system(
    make: Callable[..., Sandbox],
    ensure: Callable[..., str],
    saved: Callable[[str], Path],
    tmp_path: Path,
    compressed: bool,  # noqa: FBT001
) -> None:
    """As a tar, compressed or not; brought once."""
    path = rootfs(saved("docker-archive"), tmp_path)
    if compressed:
        path.with_suffix(".tar.xz").write_bytes(lzma.compress(path.read_bytes(), preset=0))
        path = path.with_suffix(".tar.xz")
    with make(image=f"tar:{path}", user="nobody") as box:
        assert box.sh("id -un; cat marker").text == "nobody\n"
    lines: list[str] = []
    ensure(f"tar:{path}", lines=lines)
    assert lines == []


def rootfs(saved: Path, tmp_path: Path) -> Path:
    """Return the one layer of a saved image as a root file system with a file of this test's own."""
    with tarfile.open(saved) as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        layer = archive.extractfile(json.load(file)[0]["Layers"][0])
        assert layer is not None
        path = tmp_path / "rootfs.tar"
        path.write_bytes(layer.read())
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(f"marker-{os.getpid()}")
        archive.addfile(member)
    return path


def test_a_directory(
    make: Callable[..., Sandbox], ensure: Callable[..., str], saved: Callable[[str], Path], tmp_path: Path
) -> None:
    """It is never written to, and brought again when it has changed."""
    root = tmp_path / "root"
    with tarfile.open(rootfs(saved("docker-archive"), tmp_path)) as archive:
        # Not by the argument, which Debian 12's Python 3.11.2 has not got.
        archive.extraction_filter = lambda member, _path: member
        archive.extractall(root)  # noqa: S202 - made by this test
    (root / "own").write_text("one")
    (root / "own").chmod(0o640)
    (root / "linked").hardlink_to(root / "own")
    (root / "pointer").symlink_to("own")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(root / "socket"))
    with make(image=f"dir:{root}") as box:
        assert box.sh("cat /linked /pointer; stat -c '%a %h' /own").text == "oneone640 2\n"
        assert box.sh("test -p /fifo && ! test -e /socket").ok
        box.write_text("/own", "inside")
    assert (root / "own").read_text() == "one"
    lines: list[str] = []
    first = ensure(f"dir:{root}", lines=lines)
    assert lines == []
    (root / "own").write_text("two")
    assert ensure(f"dir:{root}") != first
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("tar:/no/such.tar", r"the image 'tar:/no/such\.tar' is an archive on this host, but there is no file"),
        ("tar:/etc/hostname", r"image = 'tar:/etc/hostname': it is no root file system, .*it is no tar archive"),
        ("dir:/no/such", r"the image 'dir:/no/such' is a directory on this host, but there is none"),
        ("dir:/etc/hostname", r"there is none at /etc/hostname; it is a file: write image='tar:/etc/hostname'"),
    ],
)
def test_what_can_not_be_read(ensure: Callable[..., str], image: str, said: str) -> None:
    """The text has the path, the reason and what is accepted."""
    with pytest.raises((ImageNotFoundError, ConfigError), match=f"(?s){said}"):
        ensure(image)


def test_an_archive_with_two_images(ensure: Callable[..., str], tmp_path: Path) -> None:
    """Which one is meant can't be guessed."""
    (tmp_path / "manifest.json").write_text(json.dumps([{"Layers": []}, {"Layers": []}]))
    with tarfile.open(tmp_path / "two.tar", "w") as archive:
        archive.add(tmp_path / "manifest.json", "manifest.json")
    with pytest.raises(ConfigError, match=r"it holds 2 images \(untagged, untagged\); save one alone"):
        ensure(f"tar:{tmp_path}/two.tar")


@pytest.fixture
def foreign(saved: Callable[[str], Path], tmp_path: Path) -> Path:
    """Return the busybox image as one of another platform."""
    path, other = tmp_path / "foreign.tar", {"amd64": "arm64", "arm64": "amd64"}
    with tarfile.open(saved("docker-archive")) as source, tarfile.open(path, "w") as target:
        (manifest,) = json.loads(content(source, "manifest.json"))
        config = json.loads(content(source, manifest["Config"]))
        config["architecture"] = other[config["architecture"]]
        data = json.dumps(config).encode()
        manifest["Config"] = f"{hashlib.sha256(data).hexdigest()}.json"
        files = {name: content(source, name) for name in manifest["Layers"]}
        files |= {manifest["Config"]: data, "manifest.json": json.dumps([manifest]).encode()}
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
    return path


def content(archive: tarfile.TarFile, name: str) -> bytes:
    """Return what a file of an archive holds, links followed."""
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_other_platform(
    make: Callable[..., Sandbox], ensure: Callable[..., str], client: PodmanClient, foreign: Path, busybox: str
) -> None:
    """One that the image is not of is refused, and so is one that can't be run; nothing is left."""
    with pytest.raises(ImageNotFoundError, match=r"is of linux/\w+, and linux/s390x is asked for"):
        make(image=f"tar:{foreign}", platform="linux/s390x").start()
    with pytest.raises(ImageNotFoundError, match=r"for linux/s390x \(the one there is of linux/\w+\), and names below"):
        make(image=busybox, platform="linux/s390x").start()
    known = {path.name for path in Path("/proc/sys/fs/binfmt_misc").glob("*")}
    emulated = any(machine in name for name in known for machine in ("aarch64", "x86_64"))
    for _ in range(2):  # the second time it is known
        words = r"whose programs the \w+ host of Podman at .* can't run .* install an emulator there"
        outcome = contextlib.nullcontext() if emulated else pytest.raises(UnsupportedError, match=words)
        with outcome, make(image=f"tar:{foreign}"):
            pass
    image = ensure(f"tar:{foreign}")
    filters = json.dumps({"ancestor": [image]})
    assert not client.json("/containers/json", {"all": "true", "filters": filters})
    client.call("delete", f"/images/{image}", params={"force": "true"})
