"""Mounts: what of the host is there inside, how it may be used, and what is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.errors import ConfigError, EngineError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory of the host with a file in it, which everybody may write to."""
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o777)
    (directory / "mark").write_text("of the host")
    (directory / "mark").chmod(0o666)
    return directory


def image(kind: str, rootfs: Path) -> dict[str, Any]:
    """Return the settings for a kind of image and user."""
    found: dict[str, dict[str, Any]] = {
        "host": {},
        "root": {"image": f"dir:{rootfs}"},
        "user": {"image": f"dir:{rootfs}", "user": "alice"},
        "read-only": {"image": f"dir:{rootfs}", "read_only": True},
    }
    return found[kind]


WHO = (os.geteuid(), os.getegid())
KINDS = ["host", "root", "user", "read-only"]


@pytest.mark.parametrize("kind", KINDS)
def test_directory(make_box: Callable[..., Sandbox], shared: Path, rootfs: Path, kind: str) -> None:
    """It is the host's own, both ways, as whoever one is inside and whatever the root is; `ro` refuses writes."""
    box = make_box(mounts=[f"{shared}:/mnt/deep/shared", f"{shared}:/seen:ro"], **image(kind, rootfs))
    assert box.exec(["cat", "/mnt/deep/shared/mark"]).text == "of the host"
    box.sh("echo changed > /mnt/deep/shared/mark && mkdir /mnt/deep/shared/new").check()
    assert (shared / "mark").read_text() == "changed\n"
    assert (shared / "new").is_dir()
    # The caller's for an ordinary user, who has no other; of root's sandboxes whose it is inside, as with Docker.
    uid, gid = {"host": (1000, 1000), "user": (1234, 1235)}.get(kind, (0, 0)) if os.geteuid() == 0 else WHO
    status = (shared / "new").stat()
    assert (status.st_uid, status.st_gid) == (uid, gid)
    result = box.sh("echo x > /seen/mark")
    assert (result.ok, b"Read-only file system" in result.stderr) == (False, True), result
    box.write_text("still-writable", "x")
    assert box.read_text("/seen/mark") == "changed\n"
    if kind in {"user", "read-only"}:
        assert b"Read-only" in box.sh("echo x > /mnt/x").stderr


def test_file_and_link(make_box: Callable[..., Sandbox], shared: Path) -> None:
    """A file is mounted as one; a source that is a link which may be followed is what it leads to."""
    (shared / "link").symlink_to("mark")
    box = make_box(mounts=[f"{shared}/mark:/one", f"{shared}/link:/other:ro,follow"])
    box.write_text("/one", "by files")
    assert (box.read_text("/other"), (shared / "mark").read_text()) == ("by files", "by files")


@pytest.mark.parametrize("kind", KINDS)
def test_workdir_and_mounts(make_box: Callable[..., Sandbox], shared: Path, rootfs: Path, kind: str) -> None:
    """A mount at the workdir is the workdir; one in it is there; one around it has to have it."""
    settings = image(kind, rootfs)
    box = make_box(mounts=[f"{shared}:/workspace"], **settings)
    box.write_text("mark", "in place")
    assert (shared / "mark").read_text() == "in place"
    box = make_box(mounts=[f"{shared}:/workspace/in/it"], **settings)
    box.write_text("beside", "x")
    assert box.exec(["cat", "in/it/mark"]).text == "in place"
    assert [path.name for path in shared.iterdir()] == ["mark"]
    with pytest.raises(ConfigError, match="which has no such directory"):
        make_box(mounts=[f"{shared}:/workspace"], workdir="/workspace/absent", **settings).start()
    (shared / "sub").mkdir()
    (shared / "sub").chmod(0o777)
    box = make_box(mounts=[f"{shared}:/workspace"], workdir="/workspace/sub", **settings)
    box.write_text("new", "x")
    assert (shared / "sub/new").exists()


@pytest.mark.parametrize("target", ["/tmp", "/var", "/home/sandbox", "/etc", "/dev/shm"])
def test_over_what_is_there(make_box: Callable[..., Sandbox], shared: Path, target: str) -> None:
    """A mount takes the place of a directory of the sandbox's."""
    box = make_box(mounts=[f"{shared}:{target}"])
    assert box.read_text(f"{target}/mark") == "of the host"
    box.write_text(f"{target}/new", "x")
    assert (shared / "new").exists()


@pytest.mark.parametrize("target", ["/tmp", "/home", "/home/alice"])
def test_over_layers_of_an_image(make_box: Callable[..., Sandbox], shared: Path, rootfs: Path, target: str) -> None:
    """Also where the image's own directory has a layer, for its user or because it is another's."""
    for kind in ("user", "root", "read-only"):
        box = make_box(mounts=[f"{shared}:{target}"], **image(kind, rootfs))
        box.write_text(f"{target}/{kind}", "x")
        assert (shared / kind).exists()


def test_link_of_an_image_leads_not_to_the_host(
    make_box: Callable[..., Sandbox], shared: Path, rootfs: Path, tmp_path: Path
) -> None:
    """The mount point is made where the link leads inside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (rootfs / "way").symlink_to(outside)
    try:
        box = make_box(image=f"dir:{rootfs}", mounts=[f"{shared}:/way/in"])
        assert box.read_text(f"{outside}/in/mark") == "of the host"
        assert list(outside.iterdir()) == []
    finally:
        (rootfs / "way").unlink()


@pytest.mark.parametrize("source", ["/", "/proc", "/proc/sys/kernel", "/sys", "/proc/self/root/proc/1"])
def test_way_to_the_host_is_refused(make_box: Callable[..., Sandbox], source: str, tmp_path: Path) -> None:
    """The host's /proc has every process's descriptors; as root its sysctls could be written without capabilities."""
    link = tmp_path / "link"
    link.symlink_to(source)
    with pytest.raises(UnsupportedError, match="the host's /proc and /sys are never given") as caught:
        make_box(mounts=[f"{link}:/mnt:follow"]).start()
    assert caught.value.capability is Capability.BIND_MOUNTS


@pytest.mark.parametrize(
    ("options", "capability"), [("z", Capability.SELINUX), ("Z", Capability.SELINUX), ("U", Capability.BIND_MOUNTS)]
)
def test_options_that_are_not_there(
    make_box: Callable[..., Sandbox], shared: Path, options: str, capability: Capability
) -> None:
    """Relabelling and changing owners are refused with the reason."""
    with pytest.raises(UnsupportedError, match=r"leave (z and Z|U) out") as caught:
        make_box(mounts=[f"{shared}:/mnt:{options}"]).start()
    assert caught.value.capability is capability


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/dev", "/dev/null"])
def test_places_of_the_sandbox_own(make_box: Callable[..., Sandbox], shared: Path, target: str) -> None:
    """What hides the host can't be covered."""
    with pytest.raises(ConfigError, match="is the sandbox's own; choose another path"):
        make_box(mounts=[f"{shared}:{target}"]).start()


def test_wrong_places_are_told(make_box: Callable[..., Sandbox], shared: Path) -> None:
    """A missing source, two at one place, one inside another, and a place that can't be made."""
    with pytest.raises(ConfigError, match=r"absent' can't be used on the engine's host \(No such file or directory\)"):
        make_box(mounts=[f"{shared}/absent:/mnt"]).start()
    with pytest.raises(ConfigError, match="are at the same place, /mnt"):
        make_box(mounts=[f"{shared}:/mnt"], tmpfs=["/mnt"]).start()
    for settings in (
        {"mounts": [f"{shared}:/mnt", f"{shared}:/mnt/x"]},
        {"mounts": [f"{shared}:/mnt"], "tmpfs": ["/mnt/x"]},
    ):
        with pytest.raises(UnsupportedError, match="would be inside the mount"):
            make_box(**settings).start()
    with pytest.raises(EngineError, match=r"The setting concerned: the mount '.*' at '/etc/passwd'"):
        make_box(mounts=[f"{shared}:/etc/passwd"]).start()


def test_devices_and_setuid_programs_mean_nothing(make_box: Callable[..., Sandbox], shared: Path) -> None:
    """What is mounted is mounted without them."""
    box = make_box(mounts=[f"{shared}:/mnt"])
    line = next(line for line in box.read_text("/proc/self/mountinfo").splitlines() if " /mnt " in line)
    assert {"nosuid", "nodev"} <= set(line.split()[5].split(","))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workdir": "/usr/new"}, "workdir='/usr/new' is in the host's /usr, where nothing can be written"),
        ({"workdir": "/usr/bin"}, "workdir='/usr/bin' is in the host's /usr"),
        ({"tmpfs": ["/usr/new"]}, r"tmpfs\['/usr/new'\]: /usr/new is not there, and can't be made in the host's /usr"),
        ({"mounts": ["vol:/usr/new"]}, "the mount 'vol' at '/usr/new': /usr/new is not there"),
    ],
)
def test_nothing_is_made_among_the_hosts_programs(
    make_box: Callable[..., Sandbox], tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    """What would have to be made or written in the host's /usr is refused before anything starts."""
    with pytest.raises(ConfigError, match=said):
        make_box(**settings, options={"volume_dir": str(tmp_path)}).start()
    box = make_box(tmpfs=["/usr/share"], workdir="/usr/share/work")
    assert box.sh("pwd; touch x && ls").text.split() == ["/usr/share/work", "x"]
