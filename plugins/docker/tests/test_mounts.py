"""Bind mounts and named volumes: what is refused, who owns what, and what is left behind."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest

from mounts import *  # noqa: F403 - its tests and fixtures
from samebox.config.model import SandboxConfig
from samebox.errors import ConfigError, UnsupportedError
from samebox_docker.mounts import check_mounts, device_mounts, mount_of, split_mounts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox


@pytest.fixture
def in_use() -> str:
    """Return what Docker says."""
    return "volume is in use"


@pytest.fixture
def failing() -> list[tuple[dict[str, Any], str]]:
    """Return settings of sandboxes that can't be made: a user is looked for at the creation, a network at the start."""
    return [
        ({"user": "no-such-user"}, "no user 'no-such-user'"),
        ({"network": "no-such-network"}, "no-such-network"),
    ]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory of this host."""
    return tmp_path


@pytest.fixture
def remove_volume(raw: Any) -> Callable[[str], None]:
    """Return what removes a volume, if it is there."""

    def remove_volume(name: str) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            raw.remove_volume(name)

    return remove_volume


@pytest.fixture
def foreign(raw: Any, volume: str) -> str:
    """Return the name of a volume that samebox did not make."""
    raw.create_volume(volume)
    return volume


def test_missing_source(make: Callable[..., Sandbox], tmp_path: Path) -> None:
    """A bind mount's source that is not there is an error, and is not made."""
    with pytest.raises(ConfigError, match=r"the source '.*/none' can't be used on the engine's host"):
        make(mounts=[f"{tmp_path}/none:/mnt"]).start()

    assert not (tmp_path / "none").exists()


def test_workdir_on_a_volume_read_only(make: Callable[..., Sandbox], volume: str) -> None:
    """Under a read-only root a volume can't be given to another user, which is said; root's it is already."""
    settings = {"mounts": [f"{volume}:/data"], "workdir": "/data", "read_only": True}
    with pytest.raises(UnsupportedError, match=r"use the volume once without read_only, or give another workdir"):
        make(**settings, user="65534:65534").start()
    with make(**settings) as box:
        box.write_text("file", "x")


@pytest.mark.parametrize("mount", ["/tmp:/data:U", "name:/data:ro,U"])
def test_chown(mount: str) -> None:
    """Docker can't give a mount's files to the user, and would refuse the letter only in another call."""
    with pytest.raises(UnsupportedError, match="leave out U from the mount at /data"):
        check_mounts(SandboxConfig(mounts=[mount]))


def test_devices_of_a_rootless_daemon() -> None:
    """They are mounts, as its runtime finds no device under another name; and nobody could keep writes from them."""
    found = device_mounts(SandboxConfig(devices=["/dev/full:/dev/other"]))

    assert [{"Type": "bind", "Source": "/dev/full", "Target": "/dev/other", "ReadOnly": False}] == found
    with pytest.raises(
        UnsupportedError, match="a rootless daemon can't filter what is done with a device; leave out 'r'"
    ):
        device_mounts(SandboxConfig(devices=["/dev/full:/dev/other:r"]))


def test_relabel() -> None:
    """Relabelling needs Docker's older words, and only where there is SELinux."""
    config = SandboxConfig(mounts=["/a:/b:z", "/c:/d:ro,Z", "name:/e"])
    mounts, binds = split_mounts(config, selinux=True)

    assert ["/a:/b:z", "/c:/d:ro,Z"] == binds
    assert ["name"] == [mount["Source"] for mount in mounts]
    assert ["/a", "/c", "name"] == [mount["Source"] for mount in split_mounts(config, selinux=False)[0]]
    assert not split_mounts(config, selinux=False)[1]


def test_mount_of() -> None:
    """The innermost mount counts."""
    config = SandboxConfig(mounts=["/a:/m", "name:/m/n"])

    assert ["/m", "/m/n", None] == [
        each and each.target for each in (mount_of(config, path) for path in ("/m/o", "/m/n/p", "/mm"))
    ]
