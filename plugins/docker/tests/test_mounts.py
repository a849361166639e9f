"""Bind mounts and named volumes: what is refused, who owns what, and what is left behind."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest

from samebox.config.model import SandboxConfig
from samebox.errors import ConfigError, EngineError, UnsupportedError
from samebox_docker.mounts import check_mounts, device_mounts, mount_of, split_mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox
    from samebox_docker.engine import DockerEngine


@pytest.fixture
def volume(raw: Any) -> Iterator[str]:
    """Return a name for a volume, which is gone after the test."""
    name = f"samebox-test-{secrets.token_hex(6)}"
    yield name
    with contextlib.suppress(docker.errors.NotFound):
        raw.remove_volume(name)


def test_missing_source(make: Callable[..., Sandbox], tmp_path: Path) -> None:
    """A bind mount's source that is not there is an error, and is not made."""
    with pytest.raises(EngineError, match="bind source path does not exist"):
        make(mounts=[f"{tmp_path}/none:/mnt"]).start()

    assert not (tmp_path / "none").exists()


def test_host_directory_keeps_its_owner(make: Callable[..., Sandbox], tmp_path: Path) -> None:
    """A workdir on a bind mount stays the host's, whoever the sandbox's user is."""
    tmp_path.chmod(0o755)
    before = tmp_path.stat()
    with make(mounts=[f"{tmp_path}:/workspace"], user="65534:65534") as box:
        assert box.exec(["pwd"]).text == "/workspace\n"
    after = tmp_path.stat()

    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)


@pytest.mark.parametrize("settings", [{}, {"workdir": "/data/below"}, {"tmpfs": ["/data"], "mounts": "/data/below"}])
def test_workdir_on_a_volume(make: Callable[..., Sandbox], volume: str, settings: dict[str, Any]) -> None:
    """A workdir on a volume belongs to the user, also when the volume was used before."""
    target = settings.pop("mounts", "/data")
    settings = {"workdir": target, **settings, "mounts": [f"{volume}:{target}"]}
    with make(mounts=[f"{volume}:/other"]) as box:
        box.write_text("/other/of-root", "x")
    with make(**settings, user="65534:65534") as box:
        box.write_text("file", "x")
        assert box.exec(["stat", "-c", "%u", "file"]).text == "65534\n"


def test_workdir_on_a_volume_read_only(make: Callable[..., Sandbox], volume: str) -> None:
    """Under a read-only root a volume can't be given to another user, which is said; root's it is already."""
    settings = {"mounts": [f"{volume}:/data"], "workdir": "/data", "read_only": True}
    with pytest.raises(UnsupportedError, match=r"use the volume once without read_only, or give another workdir"):
        make(**settings, user="65534:65534").start()
    with make(**settings) as box:
        box.write_text("file", "x")


def test_foreign_volume(make: Callable[..., Sandbox], engine: DockerEngine, raw: Any, volume: str) -> None:
    """A volume that samebox did not make can be used; it is neither listed nor removed."""
    raw.create_volume(volume)
    with make(mounts=[f"{volume}:/data"]) as box:
        box.write_text("/data/file", "x")

    assert volume not in {status.name for status in engine.volumes()}
    with pytest.raises(EngineError, match="was not made by samebox, and is not removed"):
        engine.remove_volume(volume)


def test_volume_in_use(make: Callable[..., Sandbox], engine: DockerEngine, volume: str) -> None:
    """A volume in use is not removed, in Docker's words."""
    with make(mounts=[f"{volume}:/data"]), pytest.raises(EngineError, match="volume is in use"):
        engine.remove_volume(volume)
    (status,) = [status for status in engine.volumes() if status.name == volume]

    assert status.created is not None
    engine.remove_volume(volume)


def test_failed_create_leaves_no_volume(make: Callable[..., Sandbox], engine: DockerEngine, volume: str) -> None:
    """A sandbox that could not be created leaves no new volume."""
    with pytest.raises(ConfigError, match="there is no user 'no-such-user'"):
        make(mounts=[f"{volume}:/data"], user="no-such-user").start()

    assert volume not in {status.name for status in engine.volumes()}


@pytest.mark.parametrize("mount", ["/tmp:/data:U", "name:/data:ro,U"])
def test_chown(mount: str) -> None:
    """Docker can't give a mount's files to the user, and would refuse the letter only in another call."""
    with pytest.raises(UnsupportedError, match="leave out U from the mount at /data"):
        check_mounts(SandboxConfig(mounts=[mount]))


def test_agents_volume() -> None:
    """The agent's volumes can't be mounted: whoever writes there runs in every sandbox."""
    with pytest.raises(ConfigError, match="is a volume of the agent's"):
        check_mounts(SandboxConfig(mounts=["samebox-agent-0123456789abcdef:/agent"]))


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
