"""The workdir: always there, and writable by the sandbox's user, who has no capability to change an owner."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
import time
from typing import TYPE_CHECKING, Any

import docker
import pytest

from samebox.config.model import SandboxConfig
from samebox.config.units import Tmpfs
from samebox.errors import ConfigError, UnsupportedError
from samebox_docker.tmpfs import tmpfs_mounts, workdir_tmpfs
from samebox_docker.users import Owner, Users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox_docker.engine import DockerEngine

USERS = "root:x:0:0:root:/root:/bin/sh\napp:x:1234:4321::/home/app:/bin/sh\n"
LOOK = "stat -c '%u %g %a' . && touch file && stat -c '%u' file && mount | grep -c ' on /' >/dev/null"


def add(archive: tarfile.TarFile, name: str, *, owner: int = 0, mode: int = 0o755, **fields: Any) -> None:
    """Add a directory, a link or a file to an archive."""
    info = tarfile.TarInfo(name)
    info.type, info.uid, info.gid, info.mode, info.mtime = tarfile.DIRTYPE, owner, owner, mode, 1_500_000_000
    data = b""
    if "link" in fields:
        info.type, info.linkname = tarfile.SYMTYPE, fields["link"]
    if "text" in fields:
        info.type, data = tarfile.REGTYPE, fields["text"].encode()
        info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def people(url: str) -> Iterator[str]:
    """Return an image with a user, directories of several owners and a volume, on top of busybox."""
    raw: Any = docker.APIClient(base_url=url, version="auto")
    busybox = os.environ.get("SAMEBOX_TEST_IMAGE_BUSYBOX", "localhost/samebox-busybox:latest")
    container = raw.create_container(busybox, ["true"])["Id"]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        add(archive, "etc/real-passwd", text=USERS, mode=0o644)
        add(archive, "etc/passwd", link="real-passwd")
        add(archive, "home/app", owner=1234, mode=0o750)
        add(archive, "shared", mode=0o1777)
        add(archive, "data/of-root")
        add(archive, "link", link="/home/app")
    raw.put_archive(container, "/", out.getvalue())
    tag = secrets.token_hex(4)
    name = f"localhost/samebox-test-people:{tag}"
    raw.commit(container, "localhost/samebox-test-people", tag, changes=["VOLUME /data", "USER app"])
    raw.remove_container(container)
    yield name
    raw.remove_image(name, force=True)
    raw.close()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "1234 4321 755\n1234\n"),
        ({"user": "root"}, "0 0 755\n0\n"),
        ({"user": "0:7"}, "0 0 755\n0\n"),
        ({"user": "1234"}, "1234 0 755\n1234\n"),
        ({"user": "77:88"}, "77 88 755\n77\n"),
        ({"user": "app:99"}, "1234 99 755\n1234\n"),
        ({"workdir": "/home/app"}, "1234 1234 750\n1234\n"),
        ({"workdir": "/home/app", "user": "root"}, "0 0 750\n0\n"),
        ({"workdir": "/link", "user": "77"}, "77 0 750\n77\n"),
        ({"workdir": "/shared"}, "0 0 1777\n1234\n"),
        ({"workdir": "/home/app/deep/er"}, "1234 4321 755\n1234\n"),
        ({"workdir": "/data"}, "1234 4321 755\n1234\n"),
        ({"workdir": "/data/of-root", "read_only": True}, "1234 4321 755\n1234\n"),
        ({"workdir": "/data", "read_only": True, "user": "root"}, "0 0 755\n0\n"),
        ({"read_only": True}, "1234 4321 755\n1234\n"),
        ({"read_only": True, "user": "root"}, "0 0 755\n0\n"),
        ({"read_only": True, "user": "77:88"}, "77 88 755\n77\n"),
        ({"read_only": True, "workdir": "/workspace/a/b"}, "1234 4321 755\n1234\n"),
        ({"tmpfs": {"/workspace": "mode=700"}}, "1234 4321 700\n1234\n"),
        ({"tmpfs": {"/workspace": "mode=700"}, "user": "root"}, "0 0 700\n0\n"),
        ({"tmpfs": ["/mem"], "workdir": "/mem/a/b"}, "1234 4321 755\n1234\n"),
        ({"tmpfs": ["/mem"], "workdir": "/mem/a/b", "user": "root", "read_only": True}, "0 0 755\n0\n"),
    ],
    ids=str,
)
def test_writable(make: Callable[..., Sandbox], people: str, settings: dict[str, Any], expected: str) -> None:
    """Whoever the user is and whatever the image has there, the workdir is the user's to write."""
    with make(image=people, **settings) as box:
        result = box.sh(LOOK)

        assert (expected, b"") == (result.text, result.stderr)


@pytest.mark.parametrize("mode", ["700", "1777", "755"])
@pytest.mark.parametrize("path", ["/shared", "/home/app", "/new"])
def test_tmpfs_mode(make: Callable[..., Sandbox], people: str, path: str, mode: str) -> None:
    """A memory file system has its mode also where the image has a directory of another one."""
    with make(image=people, user="root", tmpfs={path: f"mode={mode}"}) as box:
        assert f"{mode} 0\n" == box.exec(["stat", "-c", "%a %u", path]).text


def test_tmpfs_mode_on_read_only(make: Callable[..., Sandbox], people: str, engine: DockerEngine) -> None:
    """Where an old runc would hide a mode that was asked for, that is refused; a newer one has it."""
    engine.probe()
    box = make(image=people, read_only=True, tmpfs={"/home/app": "mode=700"}, user="root")
    if not engine._hides_modes:
        with box:
            assert "700\n" == box.exec(["stat", "-c", "%a", "/home/app"]).text
        return
    with pytest.raises(
        UnsupportedError, match=r"older than 1\.1\.9, which keeps the mode 750 that /home/app has in the image"
    ):
        box.start()


def test_nobody_looks_twice(make: Callable[..., Sandbox], people: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who a user is is looked up once for each image."""
    with make(image=people) as box:
        box.start()
    monkeypatch.setattr(Users, "look_up", lambda *_: pytest.fail("looked up again"))
    with make(image=people) as box:
        assert b"1234\n" == box.sh("id -u").stdout


def test_root_costs_nothing(engine: DockerEngine, busybox: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root and a directory that Docker has just made nothing is changed, nor read a second time."""
    config = SandboxConfig(image=busybox)
    image = engine.ensure_image(config, print)
    engine.remove(engine.create(config, image=image, name=name, labels={}))
    asking = (("workdir", "path_state"), ("workdir", "change_directory"), ("agent_volume", "path_state"))
    for module, function in asking:
        monkeypatch.setattr(f"samebox_docker.{module}.{function}", lambda *_: pytest.fail("asked Docker"))
    engine.create(config, image=image, name=name, labels={})


def test_new_directory_has_a_time(make: Callable[..., Sandbox]) -> None:
    """A workdir that was given to its user was not made in 1970."""
    with make(user="77") as box:
        assert abs(time.time() - float(box.sh("stat -c %Y .").text)) < 300


def test_no_directory(make: Callable[..., Sandbox]) -> None:
    """A workdir that is a file in the image is refused."""
    with pytest.raises(ConfigError, match=r"^wrong config: workdir = '/etc/passwd'"):
        make(workdir="/etc/passwd").start()


@pytest.mark.parametrize(
    ("passwd", "user"),
    [
        ("app:x:-5:0::/:/bin/sh\n", "app"),
        ("app:x:4294967295:0::/:/bin/sh\n", "app"),
        ("app:x:12\n", "app"),
        ("x" * 100 + "\n" + "app:x:٣:0::/:/bin/sh\n", "app"),
        ("\n" * (1 << 20) + "app:x:5:5::/:/bin/sh\n", "app"),
    ],
    ids=["negative", "too large", "short", "digits of another script", "beyond the bound"],
)
def test_hostile_passwd(raw: Any, busybox: str, engine: DockerEngine, *, passwd: str, user: str) -> None:
    """What an image says of its users is parsed with bounds, and is never a reason for another failure."""
    container = raw.create_container(busybox, ["true"])["Id"]
    try:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            add(archive, "passwd", text=passwd)
        raw.put_archive(container, "/etc", out.getvalue())
        with pytest.raises(ConfigError, match=r"there is no user 'app' in the image's|user='app': ids are at most"):
            engine._daemon.users.look_up(container, "no-image", user)
    finally:
        raw.remove_container(container)


def test_tmpfs_options() -> None:
    """Every option is said, as Docker's own defaults are others (noexec)."""
    config = SandboxConfig(tmpfs={"/a": "size=1m,mode=700,noexec", "/b": None}, workdir="/b", user="app")

    assert {
        "/a": "rw,nosuid,nodev,noexec,mode=700,size=1048576",
        "/b": "rw,nosuid,nodev,exec,mode=1777,size=2147483648,uid=5,gid=6",
    } == tmpfs_mounts(config, (), Owner(5, 6))


@pytest.mark.parametrize(
    ("settings", "volumes", "owner", "expected"),
    [
        ({}, (), Owner(0, 0), None),
        ({"read_only": True}, (), Owner(0, 0), Tmpfs(mode=0o755)),
        ({"read_only": True}, ("/workspace",), Owner(0, 0), None),
        ({"read_only": True}, ("/workspaces",), Owner(0, 0), Tmpfs(mode=0o755)),
        ({"tmpfs": {"/workspace": "size=1m"}}, (), Owner(0, 0), Tmpfs(size=1 << 20)),
        ({"tmpfs": {"/m": "size=1m,noexec"}, "workdir": "/m/w"}, (), Owner(0, 0), None),
        (
            {"tmpfs": {"/m": "size=1m,noexec"}, "workdir": "/m/w"},
            (),
            Owner(5, 5),
            Tmpfs(size=1 << 20, mode=0o755, exec=False),
        ),
        ({"tmpfs": {"/m": "size=1m,noexec"}, "workdir": "/m/w"}, (), None, Tmpfs(size=1 << 20, mode=0o755, exec=False)),
    ],
    ids=str,
)
def test_workdir_tmpfs(
    settings: dict[str, Any], volumes: tuple[str, ...], owner: Owner | None, expected: Tmpfs | None
) -> None:
    """A memory file system is put at the workdir only where nothing else can make it writable."""
    assert expected == workdir_tmpfs(SandboxConfig(**settings), volumes, owner)
