"""What this machine can do. Machines differ, so everything here is probed and nothing assumed."""

from __future__ import annotations

import os
import resource
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run

if TYPE_CHECKING:
    from testbed.state import State

__all__ = ["hybrid_cgroups", "open_devices", "overlay_mounts", "restore_devices", "systemd_runs", "ulimits_podman_may_set"]

CAP_SYS_RESOURCE = 24

#: What a rootless engine opens: the first for fuse-overlayfs, the second for slirp4netns and pasta.
DEVICES = ("/dev/fuse", "/dev/net/tun")


def systemd_runs() -> bool:
    """:returns: whether systemd is this machine's init, as sd_booted(3) finds out"""
    return Path("/run/systemd/system").is_dir()


def hybrid_cgroups() -> bool:
    """:returns: whether cgroup v1 and v2 are mounted side by side, which crun refuses where systemd did not set it up"""
    kinds = set()
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        kinds.add(line.partition(" - ")[2].split(" ")[0])
    return {"cgroup", "cgroup2"} <= kinds


def ulimits_podman_may_set() -> list[str] | None:
    """Find out whether Podman's default ulimits, above this process's own, can be set here.

    :returns: None where they can; otherwise what to put into containers.conf, this process's own hard limits
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    if effective >> CAP_SYS_RESOURCE & 1:
        return None
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # Podman lowers its own to the number of pids there can be, and with that ours are out of its reach as well.
    most = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    tasks = min(most, resource.getrlimit(resource.RLIMIT_NPROC)[1] % (1 << 64))
    return [f"nofile={files}:{files}", f"nproc={tasks}:{tasks}"]


def overlay_mounts(parent: Path, user: tuple[int, int] | None = None) -> bool:
    """Find out by doing it whether an overlay can be mounted in a directory.

    :param parent: where the layers would be
    :param user: try as this uid and gid, in a user namespace of its own, as a rootless engine does

    :returns: whether it worked
    """
    uid, gid = user if user is not None else (None, None)
    with tempfile.TemporaryDirectory(prefix="overlay-", dir=parent) as name:
        for part in ("lower", "upper", "work", "merged"):
            (Path(name) / part).mkdir()
        if uid is not None and gid is not None:
            for path in (Path(name), *Path(name).iterdir()):
                os.chown(path, uid, gid)
        options = f"lowerdir={name}/lower,upperdir={name}/upper,workdir={name}/work"
        extra = ",userxattr" if user is not None else ""
        script = f"mount -t overlay overlay -o {options}{extra} {name}/merged && touch {name}/merged/file"
        flags = ["--user", "--map-root-user", "--mount"] if user is not None else ["--mount"]
        try:
            run(["unshare", *flags, "sh", "-c", script], user=uid, group=gid)
        except TestbedError:
            return False
        return True


def open_devices(state: State) -> None:
    """Give everyone the devices a rootless engine opens, as udev does, and note how they were."""
    before: dict[str, int] = dict(state.get("devices", {}))
    for name in DEVICES:
        path = Path(name)
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o666 != 0o666:  # noqa: PLR2004 - read and write for all
            before.setdefault(name, mode)
            state.set(devices=before)
            path.chmod(0o666)


def restore_devices(state: State) -> None:
    """Undo `open_devices`."""
    for name, mode in state.get("devices", {}).items():
        if Path(name).exists():
            Path(name).chmod(mode)
    state.set(devices={})
