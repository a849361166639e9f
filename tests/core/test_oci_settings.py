"""Settings of a container engine's sandbox, as far as no engine is needed."""

from __future__ import annotations

import base64
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.config.units import Tmpfs
from samebox.engine.oci.limits import Limits, limits, no_disk_limit
from samebox.engine.oci.mounts import mount_above, runc_hides_modes, tmpfs_options, volume_names
from samebox.engine.oci.options import ExistingFile
from samebox.engine.oci.path_stat import PathStat, parse_path_stat
from samebox.engine.oci.seccomp import check_profile, chosen_profile, read_profile
from samebox.engine.oci.settings import check_disk, check_settings, kernel_names
from samebox.engine.oci.snapshot import snapshot_config
from samebox.engine.oci.volumes import check_ours, listed_volumes
from samebox.errors import ConfigError, EngineError, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path


def test_disk_and_volumes_of_an_image() -> None:
    """Only where `disk` is kept by sizes, and nothing else is put there."""
    strict = SandboxConfig(disk="1m", read_only=True, tmpfs=["/a"], mounts=["name:/b"])

    check_disk(strict, ["/a", "/b"])
    check_disk(SandboxConfig(disk="1m"), ["/c"])
    check_disk(SandboxConfig(read_only=True), ["/c"])
    with pytest.raises(ConfigError, match=r"disk: the image has a volume at /c, .* tmpfs \(/c:size=64m\) or a mount"):
        check_disk(strict, ["/d", "/c", "/a"])


@pytest.mark.parametrize(
    ("settings", "error", "why"),
    [
        ({"network": "host", "ports": {80: None}}, ConfigError, "ports: nothing is published with network='host'"),
        ({"network": "container:x", "ports": {80: None}}, ConfigError, "nothing is published"),
        ({"network": "container:x", "dns": ["192.0.2.1"]}, ConfigError, "they are the other container's"),
        ({"shm_size": "1m", "tmpfs": {"/dev/shm": None}}, ConfigError, "shm_size and tmpfs at /dev/shm both say"),
        ({"privileged": True, "cap_drop": ["CHOWN"]}, UnsupportedError, "give one of cap_drop and privileged"),
    ],
    ids=str,
)
def test_settings_that_would_be_ignored(settings: dict[str, Any], error: type[Exception], why: str) -> None:
    """They are refused before anything is made."""
    with pytest.raises(error, match=why):
        check_settings(SandboxConfig(**settings), "fake")


@pytest.mark.parametrize(
    "settings",
    [
        {"network": True, "ports": {80: None}, "dns": ["192.0.2.1"]},
        {"network": "container", "ports": {80: None}},
        {"privileged": True},
        {"shm_size": "1m", "tmpfs": {"/tmp": None}},
    ],
    ids=str,
)
def test_settings_that_go_together(settings: dict[str, Any]) -> None:
    """A network may be called as a mode is."""
    check_settings(SandboxConfig(**settings), "fake")


def test_limits() -> None:
    """Swap is no more than the memory unless it was asked for, and what the host lacks is left out."""
    config = SandboxConfig(memory="64m", cpus=0.001, pids_limit=70)
    assert limits(config, ()) == Limits(64 << 20, 64 << 20, 1000, 70)
    assert limits(config.replace(memory_swap="96m", cpus=1.5), ()) == Limits(64 << 20, 96 << 20, 150_000, 70)
    missing = {Capability.MEMORY_LIMIT, Capability.CPU_LIMIT, Capability.PIDS_LIMIT}
    assert limits(config, missing) == Limits()


@pytest.mark.parametrize(
    ("driver", "backing", "why"),
    [
        ("overlay2", "xfs", None),
        ("btrfs", "", None),
        ("overlay", "extfs", "overlay limits sizes only on xfs with the mount option pquota, and the service's files"),
        ("vfs", "xfs", "the storage driver 'vfs' can't limit the size"),
    ],
)
def test_disk_limit(driver: str, backing: str, why: str | None) -> None:
    """Whether xfs has pquota, a creation tells."""
    found = no_disk_limit(driver, backing)
    assert found is None if why is None else why in str(found)


def test_kernel_names() -> None:
    """All of them is a word of its own."""
    assert kernel_names(["ALL", "CHOWN"]) == ["ALL", "CAP_CHOWN"]


def test_mounts() -> None:
    """The innermost mount counts, and a name that only begins alike does not."""
    assert mount_above("/a/b/c", ["/a", "/a/b", "/a/bb", "/"]) == "/a/b"
    assert mount_above("/ab", ["/a"]) is None
    assert mount_above("/a", ["/a", "/"]) == "/a"
    assert volume_names(SandboxConfig(mounts=["b:/1", "a:/2", "b:/3", "/host:/4"])) == ["a", "b"]


def test_tmpfs_options() -> None:
    """Every option is said, as engines have other defaults."""
    assert tmpfs_options(Tmpfs(), None) == ["rw", "nosuid", "nodev", "exec", "mode=1777"]
    assert tmpfs_options(Tmpfs(), 4096) == ["rw", "nosuid", "nodev", "exec", "mode=1777", "size=4096"]
    expected = ["rw", "nosuid", "nodev", "noexec", "mode=700", "size=1024"]
    assert tmpfs_options(Tmpfs(size=1024, mode=0o700, exec=False), 4096) == expected


@pytest.mark.parametrize(
    ("version", "hides"),
    [("v1.1.4-0-g5fd4c4d", True), ("runc version 1.1.5+ds1", True), ("1.1.9", False), ("1.2.0", False), ("N/A", False)],
)
def test_runc(version: str, hides: bool) -> None:  # noqa: FBT001
    """The version may stand in other words."""
    assert runc_hides_modes(version) is hides


def header(**fields: Any) -> str:
    """Return the header of an archive call."""
    said = {"name": "x", "size": 5, "mode": 0o644, "mtime": "1970-01-01T00:00:01Z", "linkTarget": "", **fields}
    return base64.b64encode(json.dumps(said).encode()).decode()


def test_path_stat() -> None:
    """Modes are in Go's own numbering."""
    assert parse_path_stat(header()) == PathStat("other", 0o644, 5, 1.0)
    assert parse_path_stat(header(mode=1 << 31 | 1 << 20 | 0o777)) == PathStat("directory", 0o1777, 5, 1.0)
    assert parse_path_stat(header(mode=1 << 27, linkTarget="/x")) == PathStat("link", 0, 5, 1.0, "/x")
    for text in ("", "no base64", header(mode="x"), header(mtime="never")):
        with pytest.raises(EngineError, match="a path's state that can't be read"):
            parse_path_stat(text)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "it can't be read: No such file"),
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "it has no defaultAction"),
        ("{}", "it has no defaultAction"),
        (" " * (1 << 20) + "{}", "at most 1048576 bytes"),
    ],
    ids=["absent", "broken", "deep", "list", "empty", "large"],
)
def test_wrong_profiles(tmp_path: Path, content: str | None, why: str) -> None:
    """The text has the option and what is wrong with the file."""
    path = tmp_path / "profile.json"
    if content is not None:
        path.write_text(content)
    option = f"seccomp={path}"
    with pytest.raises(ConfigError, match=rf"^wrong config: security_opt = '{re.escape(option)}': .*{why}"):
        check_profile([option])


def test_profile_that_is_no_file(tmp_path: Path) -> None:
    """A FIFO has no writer to wait for, and a directory no content."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ConfigError, match=r"it is not a regular file|Is a directory"):
            read_profile(str(path))


def test_chosen_profile(tmp_path: Path) -> None:
    """One at a time, so that none is dropped silently."""
    (tmp_path / "p.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    assert chosen_profile(["apparmor=x"]) is None
    assert check_profile(["seccomp=unconfined"]) == "unconfined"
    assert check_profile([f"seccomp={tmp_path}/p.json"]) == f"{tmp_path}/p.json"
    with pytest.raises(ConfigError, match=r"one seccomp profile at a time, not 2 \(unconfined, /x\)"):
        check_profile(["seccomp=unconfined", "seccomp=/x"])


def test_existing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home directory is found, and what is not there is told."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").touch()
    adapter = TypeAdapter[Any](ExistingFile)
    assert adapter.validate_python("~/key") == tmp_path / "key"
    with pytest.raises(ValidationError, match="there is no such file"):
        adapter.validate_python(str(tmp_path))


def test_volumes() -> None:
    """They are listed by name, and removed only if samebox made them."""
    ours, theirs = listed_volumes(
        [
            {"Name": "b", "CreatedAt": "1970-01-01T00:00:02Z", "Labels": None},
            {"Name": "a", "Labels": {"samebox.managed": "1"}},
        ]
    )
    assert (ours.name, ours.created, theirs.created) == ("a", None, 2.0)
    check_ours("Fake at fake://", ours)
    with pytest.raises(EngineError, match=r"^the volume 'b' on Fake at fake:// was not made by samebox"):
        check_ours("Fake at fake://", theirs)


def test_snapshot() -> None:
    """What the first image said is kept, what it did not say is said, and samebox's labels are emptied."""
    container = {"Entrypoint": ["agent"], "Labels": {"samebox.owner": "x", "a": "b"}}
    assert snapshot_config(container, {"Cmd": ["sh"], "User": "app", "Labels": {"a": "b"}}) == {
        "Entrypoint": [],
        "Cmd": ["sh"],
        "User": "app",
        "WorkingDir": "/",
        "Labels": {"samebox.owner": "", "a": "b", "samebox.made": "snapshot"},
    }
