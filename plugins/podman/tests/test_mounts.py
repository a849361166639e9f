"""Bind mounts and named volumes: what is refused, who owns what, and what is left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from mounts import *  # noqa: F403 - its tests and fixtures
from mounts import assert_workdir_on_a_volume
from samebox.config.model import SandboxConfig
from samebox.errors import EngineError
from samebox_podman.mounts import bind_mounts, volume_mounts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine


@pytest.fixture
def in_use() -> str:
    """Return what Podman says."""
    return r"could not remove .*being used"


@pytest.fixture
def remove_volume(client: PodmanClient) -> Callable[[str], None]:
    """Return what removes a volume, if it is there."""

    def remove_volume(name: str) -> None:
        client.call("delete", f"/volumes/{name}", accept=(404,))

    return remove_volume


@pytest.fixture
def foreign(client: PodmanClient, volume: str) -> str:
    """Return the name of a volume that samebox did not make."""
    client.call("post", "/volumes/create", body={"Name": volume})
    return volume


@pytest.fixture
def failing() -> list[tuple[dict[str, Any], str]]:
    """Return settings of sandboxes that can't be made: a network is looked for at the creation, a user at the start."""
    return [
        ({"network": "no-such-network"}, "no-such-network"),
        ({"user": "no-such-user"}, "there is no user 'no-such-user'"),
    ]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory that the service's user reaches and may write."""
    for parent in reversed(tmp_path.parents[:3]):
        with contextlib.suppress(PermissionError):
            parent.chmod(0o755)
    tmp_path.chmod(0o777)
    return tmp_path


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


def test_workdir_on_a_volume_read_only(make: Callable[..., Sandbox], volume: str) -> None:
    """Under a read-only root too."""
    assert_workdir_on_a_volume(make, volume, {"read_only": True})


def test_volume_of_a_new_user(make: Callable[..., Sandbox], volume: str) -> None:
    """An absent volume is made for the user who mounts it first."""
    with make(mounts=[f"{volume}:/data"], user="65534:65534") as box:
        box.write_text("/data/file", "x")
        assert box.exec(["stat", "-c", "%u", "/data"]).text == "65534\n"


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
