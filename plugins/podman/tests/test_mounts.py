"""Bind mounts and named volumes: what is refused, who owns what, and what is left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from samebox.config.model import SandboxConfig
from samebox.errors import EngineError
from samebox_podman.mounts import bind_mounts, volume_mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine


@pytest.fixture
def volume(client: PodmanClient) -> Iterator[str]:
    """Return a name for a volume, which is gone after the test."""
    name = f"samebox-test-{secrets.token_hex(6)}"
    yield name
    client.call("delete", f"/volumes/{name}", accept=(404,))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory that the service's user reaches and may write."""
    for parent in reversed(tmp_path.parents[:3]):
        with contextlib.suppress(PermissionError):
            parent.chmod(0o755)
    tmp_path.chmod(0o777)
    return tmp_path


def test_host_directory_keeps_its_owner(make: Callable[..., Sandbox], shared: Path) -> None:
    """A workdir on a bind mount stays the host's, whoever the sandbox's user is."""
    before = shared.stat()
    with make(mounts=[f"{shared}:/workspace"], user="65534:65534") as box:
        assert box.exec(["pwd"]).text == "/workspace\n"
        box.write_text("file", "x")
    after = shared.stat()

    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)


def test_chown(make: Callable[..., Sandbox], engine: PodmanEngine, shared: Path, volume: str) -> None:
    """U gives a mount's files to the user, of a volume that was used before as well."""
    with make(mounts=[f"{volume}:/data"]) as box:
        box.write_text("/data/file", "x")
    with make(mounts=[f"{volume}:/data:U"], user="1234:1234") as box:
        assert box.sh("stat -c %u:%g /data /data/file").text.split() == ["1234:1234"] * 2
    if engine.probe().rootless:
        with pytest.raises(EngineError, match="operation not permitted"):  # they are root's, and it is not root
            make(mounts=[f"{shared}:/mnt:U"], user="1234:1234").start()
    else:
        with make(mounts=[f"{shared}:/mnt:U"], user="1234:1234"):
            assert shared.stat().st_uid == 1234


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"read_only": True},
        {"workdir": "/data/below"},
        {"tmpfs": ["/data"], "mounts": "/data/below"},
        {"mounts": "/workspace"},
    ],
    ids=str,
)
def test_workdir_on_a_volume(make: Callable[..., Sandbox], volume: str, settings: dict[str, Any]) -> None:
    """A workdir on a volume belongs to the user, also when the volume was used before; what else is there does not."""
    settings = dict(settings)
    target = settings.pop("mounts", "/data")
    settings = {"workdir": target, **settings, "mounts": [f"{volume}:{target}"]}
    with make(mounts=[f"{volume}:/other"]) as box:
        box.write_text("/other/of-root", "x")
    with make(**settings, user="65534:65534") as box:
        box.write_text("file", "x")
        assert box.sh(f"stat -c %u . file {target}/of-root").text.split() == ["65534", "65534", "0"]


def test_volume_of_a_new_user(make: Callable[..., Sandbox], volume: str) -> None:
    """An absent volume is made for the user who mounts it first."""
    with make(mounts=[f"{volume}:/data"], user="65534:65534") as box:
        box.write_text("/data/file", "x")
        assert box.exec(["stat", "-c", "%u", "/data"]).text == "65534\n"


def test_foreign_volume(make: Callable[..., Sandbox], engine: PodmanEngine, client: PodmanClient, volume: str) -> None:
    """A volume that samebox did not make can be used; it is neither listed nor removed."""
    client.call("post", "/volumes/create", body={"Name": volume})
    with make(mounts=[f"{volume}:/data"]) as box:
        box.write_text("/data/file", "x")

    assert volume not in {status.name for status in engine.volumes()}
    with pytest.raises(EngineError, match="was not made by samebox, and is not removed"):
        engine.remove_volume(volume)


def test_volume_in_use(make: Callable[..., Sandbox], engine: PodmanEngine, volume: str) -> None:
    """A volume in use is not removed, in Podman's words; nor one whose name only begins like that."""
    with make(mounts=[f"{volume}:/data"]), pytest.raises(EngineError, match=r"could not remove .*being used"):
        engine.remove_volume(volume)
    engine.remove_volume(volume[:-2])
    (status,) = [status for status in engine.volumes() if status.name == volume]

    assert status.created is not None
    assert status.labels["samebox.managed"] == "1"
    engine.remove_volume(volume)
    assert volume not in {status.name for status in engine.volumes()}


def test_failed_create_leaves_no_volume(make: Callable[..., Sandbox], engine: PodmanEngine, volume: str) -> None:
    """A sandbox that could not be created leaves no new volume, and one that was there stays."""
    with pytest.raises(EngineError):
        make(mounts=[f"{volume}:/data"], network="no-such-network").start()
    assert volume not in {status.name for status in engine.volumes()}
    with pytest.raises(EngineError, match="could not start the sandbox"):  # Podman looks for the user then
        make(mounts=[f"{volume}:/data"], user="no-such-user").start()
    assert volume not in {status.name for status in engine.volumes()}
    with make(mounts=[f"{volume}:/data"]):
        pass
    for wrong in ({"network": "no-such-network"}, {"user": "no-such-user"}):
        with pytest.raises(EngineError):
            make(mounts=[f"{volume}:/data"], **wrong).start()
    assert volume in {status.name for status in engine.volumes()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount something on the host")
@pytest.mark.parametrize("url", ["rootful"], indirect=True)
def test_mounts_below_a_read_only_one(make: Callable[..., Sandbox], shared: Path) -> None:
    """`ro` makes the topmost mount alone read-only, so what is mounted below the source on the host is not there."""
    (shared / "below").mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "none", shared / "below"], check=True)
    try:
        (shared / "below" / "file").write_text("x")
        with make(mounts=[f"{shared}:/mnt:ro"]) as box:
            assert box.list_dir("/mnt/below") == []
            assert b"Read-only file system" in box.sh("echo x > /mnt/below/new").stderr
        with make(mounts=[f"{shared}:/mnt"]) as box:
            assert box.read_text("/mnt/below/file") == "x"
    finally:
        subprocess.run(["/bin/umount", shared / "below"], check=True)


def test_no_devices_or_setuid(make: Callable[..., Sandbox], shared: Path, volume: str) -> None:
    """A mount brings neither, whatever the host's file system allows."""
    with make(mounts=[f"{shared}:/mnt", f"{volume}:/data"]) as box:
        mounts = {line.split()[1]: line.split()[3].split(",") for line in box.read_text("/proc/mounts").splitlines()}
    assert {"nosuid", "nodev"} <= set(mounts["/mnt"])
    assert {"nosuid", "nodev"} <= set(mounts["/data"])


def test_relabel() -> None:
    """The letters are Podman's own."""
    config = SandboxConfig(mounts=["/a:/b:z", "/c:/d:ro,Z", "name:/e:U,Z"])
    assert [mount["options"] for mount in bind_mounts(config)] == [
        ["rw", "z", "nosuid", "nodev", "rbind"],
        ["ro", "Z", "nosuid", "nodev", "bind"],
    ]
    assert volume_mounts(config)[0]["Options"] == ["rw", "Z", "U", "nosuid", "nodev", "exec"]
