"""Images: names, archives and directories; found, brought once, or refused with the reason."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import secrets
import socket
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

from samebox.config.model import SandboxConfig
from samebox.errors import ConfigError, ImageNotFoundError
from samebox_docker.progress import StreamError, follow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox
    from samebox_docker.engine import DockerEngine


def ensure(engine: DockerEngine, image: str, **settings: Any) -> tuple[str, list[str]]:
    """Return an image's id and the lines of progress."""
    lines: list[str] = []
    return engine.ensure_image(SandboxConfig(image=image, **settings), lines.append), lines


@pytest.fixture
def clean(raw: Any) -> Iterator[None]:
    """Remove the images that a test brings to the daemon."""

    def names() -> set[str]:
        return {tag for each in raw.images() for tag in each["RepoTags"] or ()}

    before = names()
    yield
    for name in names() - before:
        raw.remove_image(name, force=True)


@pytest.fixture
def saved(tmp_path: Path, raw: Any, busybox: str) -> Path:
    """Return what `docker save` writes of the busybox image, as an archive that no daemon has seen yet."""
    path = tmp_path / "saved.tar"
    with path.open("wb") as out:
        out.writelines(raw.get_image(busybox))
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo(secrets.token_hex(8)))
    return path


@pytest.fixture
def root(tmp_path: Path, raw: Any, busybox: str) -> Path:
    """Return the busybox image's files as a tar archive."""
    path = tmp_path / "root.tar"
    container = raw.create_container(busybox, ["true"])["Id"]
    with path.open("wb") as out:
        out.writelines(raw.export(container))
    raw.remove_container(container)
    return path


@pytest.fixture
def oci(tmp_path: Path, saved: Path) -> Path:
    """Return the busybox image as an OCI archive."""
    with tarfile.open(saved) as archive:
        (image,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
        config = archive.extractfile(image["Config"]).read()  # type: ignore[union-attr]
        layers = [archive.extractfile(layer).read() for layer in image["Layers"]]  # type: ignore[union-attr]
    path = tmp_path / "oci.tar"
    with tarfile.open(path, "w") as out:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))

        def blob(data: bytes, **fields: Any) -> dict[str, Any]:
            digest = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{digest}", data)
            return {"digest": f"sha256:{digest}", "size": len(data), **fields}

        manifest = {
            "schemaVersion": 2,
            "config": blob(config, mediaType="application/vnd.oci.image.config.v1+json"),
            "layers": [blob(layer, mediaType="application/vnd.oci.image.layer.v1.tar") for layer in layers],
        }
        media_type = "application/vnd.oci.image.manifest.v1+json"
        here = blob(json.dumps(manifest).encode(), mediaType=media_type)
        version = os.uname().machine
        here["platform"] = {"os": "linux", "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[version]}
        other = {**here, "platform": {"os": "linux", "architecture": "s390x"}}
        nested = json.dumps({"schemaVersion": 2, "manifests": [other, here]}).encode()
        index = blob(nested, mediaType="application/vnd.oci.image.index.v1+json")
        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add("index.json", json.dumps({"schemaVersion": 2, "manifests": [index]}).encode())
    return path


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("kind", ["saved", "root", "oci"])
def test_archive(make: Callable[..., Sandbox], engine: DockerEngine, request: pytest.FixtureRequest, kind: str) -> None:
    """Each kind of archive becomes an image, once."""
    path = request.getfixturevalue(kind)
    first, progress = ensure(engine, f"tar:{path}")
    again, silence = ensure(engine, f"tar:{path}")

    assert first == again
    assert f"bringing {path} to Docker" == progress[0]
    assert not silence
    with make(image=f"tar:{path}") as box:
        assert b"hello\n" == box.exec(["echo", "hello"]).stdout


@pytest.mark.usefixtures("clean")
def test_compressed_archive(engine: DockerEngine, root: Path) -> None:
    """A compressed root file system is one too."""
    packed = root.with_suffix(".tar.gz")
    packed.write_bytes(gzip.compress(root.read_bytes(), 1))

    assert ensure(engine, f"tar:{packed}")[0].startswith("sha256:")


@pytest.mark.usefixtures("clean")
def test_tags_of_an_archive(engine: DockerEngine, raw: Any, saved: Path, busybox: str) -> None:
    """Loading an archive moves no tag of the daemon's owner, though the archive names one."""
    container = raw.create_container(busybox, ["true"])["Id"]
    raw.put_archive(container, "/", _file("marker", b"another"))
    name = f"localhost/samebox-test-tag:{secrets.token_hex(4)}"
    other = raw.commit(container, *name.rsplit(":", 1))["Id"]
    raw.remove_container(container)
    manifest = [{"Config": "c", "RepoTags": [name], "Layers": []}]
    with tarfile.open(saved) as archive:
        (found,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
        manifest = [{**found, "RepoTags": [name]}]
    with tarfile.open(saved, "a") as archive:
        data = json.dumps(manifest).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    loaded, _ = ensure(engine, f"tar:{saved}")

    assert other == raw.inspect_image(name)["Id"]
    assert loaded != other


def _file(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.usefixtures("clean")
def test_directory(make: Callable[..., Sandbox], engine: DockerEngine, raw: Any, root: Path, tmp_path: Path) -> None:
    """A directory becomes an image, anew only when something in it has changed, and the old one goes."""
    directory = tmp_path / "tree"
    directory.mkdir()
    with tarfile.open(root) as archive:
        # Not by the argument, which Debian 12's Python 3.11.2 has not got.
        archive.extraction_filter = lambda member, _path: member
        archive.extractall(directory)  # noqa: S202 - made by this test
    (directory / "hard").hardlink_to(directory / "bin" / "busybox")
    (directory / os.fsdecode(b"name-\xff")).write_text("odd")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(directory / "socket"))
        first, progress = ensure(engine, f"dir:{directory}")
    again, silence = ensure(engine, f"dir:{directory}")
    with make(image=f"dir:{directory}") as box:
        links = box.exec(["stat", "-c", "%h", "/hard"]).text
        names = {each.name for each in box.list_dir("/")}
    (directory / "new").write_text("new")
    changed, _ = ensure(engine, f"dir:{directory}")

    assert f"bringing {directory} to Docker" == progress[0]
    assert (first, []) == (again, silence)
    assert changed != first
    assert int(links) > 1
    assert os.fsdecode(b"name-\xff") in names
    assert "socket" not in names
    assert first not in {each["Id"] for each in raw.images(all=True)}


def test_missing_local_image(engine: DockerEngine, url: str) -> None:
    """A name that begins with localhost/ is never looked for on a network."""
    text = (
        f"the image 'localhost/samebox-nothing' is not on Docker at {url}: what begins with 'localhost/' is never "
        "pulled. Build it or load it there: `docker build -t localhost/samebox-nothing DIRECTORY`, `docker load`, or "
        "`docker tag`."
    )
    with pytest.raises(ImageNotFoundError, match=f"^{re.escape(text)}$"):
        ensure(engine, "localhost/samebox-nothing")


def test_never_pulled(engine: DockerEngine, url: str) -> None:
    """With pull="never" only what is there counts."""
    text = f"the image 'samebox-nothing' is not on Docker at {url}: it may not be pulled (pull=\"never\"). "
    with pytest.raises(ImageNotFoundError, match=f"^{re.escape(text)}"):
        ensure(engine, "samebox-nothing", pull="never")


@pytest.fixture
def registry(engine: DockerEngine) -> Iterator[str]:
    """Return the address of a registry that has nothing, on loopback, where Docker needs no TLS."""
    if engine.probe().rootless:
        pytest.skip("a rootless daemon has a loopback of its own")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    known = b"/v2/ " in connection.recv(65536).split(b"\r\n")[0]
                    text = (
                        b"{}" if known else b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
                    )
                    status = b"200 OK" if known else b"404 Not Found"
                    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\n" % status
                    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(text) + text)
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_missing_in_registry(engine: DockerEngine, url: str, registry: str) -> None:
    """An image that the registry does not have: its words, the daemon's address and what to do."""
    image = f"{registry}/nothing:1"
    text = (
        rf"^the image '{image}' is not on Docker at {url}: pulling it failed: .*manifest unknown.*\. Check its name "
        rf"and tag; "
        r"for a private one run `docker login`; without a way to the registry load it with `docker load`, or give "
        r"image='tar:PATH'\.$"
    )
    with pytest.raises(ImageNotFoundError, match=text):
        ensure(engine, image)


def test_no_registry(engine: DockerEngine) -> None:
    """A registry that nobody listens for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ImageNotFoundError, match="connection refused"):
        ensure(engine, f"127.0.0.1:{port}/x")


def test_always_pulled(engine: DockerEngine, raw: Any, busybox: str, registry: str) -> None:
    """With pull="always" an image that is there is asked for all the same, and one of the machine is not."""
    name = f"{registry}/there"
    raw.tag(busybox, name, "1")
    try:
        assert ensure(engine, f"{name}:1")[0] == ensure(engine, f"{name}:1", pull="never")[0]
        with pytest.raises(ImageNotFoundError, match="manifest unknown"):
            ensure(engine, f"{name}:1", pull="always")
    finally:
        raw.remove_image(f"{name}:1")

    assert ensure(engine, busybox, pull="always")[0].startswith("sha256:")


def test_no_name(engine: DockerEngine) -> None:
    """What Docker can't read as a name is a mistake in the config."""
    with pytest.raises(
        ConfigError, match=r"^wrong config: image = 'UPPER': Docker can't read it as an image's name: .*lowercase"
    ):
        ensure(engine, "UPPER")


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("tar:{}/none.tar", "the image 'tar:{}/none.tar' is an archive on this host, but there is no file {}/none.tar"),
        (
            "tar:{}",
            (
                "the image 'tar:{}' is an archive on this host, but there is no file {}; it is a directory: write "
                "image='dir:{}'"
            ),
        ),
        ("dir:{}/none", "the image 'dir:{}/none' is a directory on this host, but there is none at {}/none"),
        (
            "dir:{}/file",
            (
                "the image 'dir:{}/file' is a directory on this host, but there is none at {}/file; it is a file: "
                "write "
                "image='tar:{}/file'"
            ),
        ),
    ],
)
def test_nothing_there(engine: DockerEngine, tmp_path: Path, image: str, text: str) -> None:
    """A path with nothing, or something else, is named with what to write instead."""
    (tmp_path / "file").write_text("no tar")
    with pytest.raises(ImageNotFoundError, match=f"^{re.escape(text.replace('{}', str(tmp_path)))}$"):
        ensure(engine, image.format(tmp_path))


def test_no_archive(engine: DockerEngine, tmp_path: Path) -> None:
    """A file that is no archive is refused before Docker sees it."""
    (tmp_path / "x.tar").write_text("no tar")
    text = (
        f"wrong config: image = 'tar:{tmp_path}/x.tar': it is no root file system, `docker save` or OCI archive that "
        "can be read: "
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}"):
        ensure(engine, f"tar:{tmp_path}/x.tar")


def test_several_images(engine: DockerEngine, tmp_path: Path) -> None:
    """An archive with several images does not say which is meant."""
    manifest = [{"Config": name, "RepoTags": [f"{name}:1"], "Layers": []} for name in ("one", "two")]
    (tmp_path / "x.tar").write_bytes(_file("manifest.json", json.dumps(manifest).encode()))
    with pytest.raises(ConfigError, match=r"it holds 2 images \(one:1, two:1\); save one alone$"):
        ensure(engine, f"tar:{tmp_path}/x.tar")


def test_incomplete_archive(engine: DockerEngine, raw: Any, tmp_path: Path) -> None:
    """An archive without one of its layers is refused, and leaves no image."""
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]}]
    (tmp_path / "x.tar").write_bytes(_file("manifest.json", json.dumps(manifest).encode()))
    before = {each["Id"] for each in raw.images(all=True)}
    with pytest.raises(ConfigError, match=r"config\.json"):
        ensure(engine, f"tar:{tmp_path}/x.tar")

    assert before == {each["Id"] for each in raw.images(all=True)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a right away from itself by another user")
def test_unreadable_file(engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can't be read names itself, and is not taken for a broken connection to Docker."""
    (tmp_path / "secret").write_text("x")
    real = open

    def refuse(path: object, *arguments: Any, **more: Any) -> Any:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refuse)
    text = (
        f"the image 'dir:{tmp_path}' can't be read: Permission denied: '{tmp_path}/./secret'. Give one that this user "
        f"may "
        "read."
    )
    with pytest.raises(ImageNotFoundError, match=f"^{re.escape(text)}$"):
        ensure(engine, f"dir:{tmp_path}")


def test_progress() -> None:
    """A pull's lines tell each layer's steps once."""
    lines: list[Any] = [
        {"status": "Pulling from x", "id": "1"},
        {"status": "Downloading", "id": "a", "progress": "[=>  ]"},
        {"status": "Downloading", "id": "a", "progress": "[==> ]"},
        {"status": "Pull complete", "id": "a"},
        {"status": "Digest: y"},
    ]

    assert ["1: Pulling from x", "a: Downloading", "a: Pull complete", "Digest: y"] == list(follow(lines))
    with pytest.raises(StreamError, match=r"^gone$"):
        list(follow([*lines, {"errorDetail": {"message": "gone"}}]))


def test_other_platform(make: Callable[..., Sandbox]) -> None:
    """An image of another platform is not used, and the error has both."""
    text = r"the one there is of linux/\w+, and linux/s390x is asked for; what begins with 'localhost/' is never pulled"
    with pytest.raises(ImageNotFoundError, match=text):
        make(platform="linux/s390x").start()
