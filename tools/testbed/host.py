"""Probes of this machine's abilities, as machines differ, and the opening of its devices to everyone."""

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

CAP_SYS_RESOURCE = 24
"""The number of this capability's bit in a set of capabilities."""

DEVICES = (Path("/dev/fuse"), Path("/dev/net/tun"))
"""The devices that a rootless engine opens: the first for fuse-overlayfs, the second for slirp4netns and pasta."""

FOR_ALL = 0o666


def systemd_runs() -> bool:
    """Return whether systemd is this machine's init, by the test of sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def hybrid_cgroups() -> bool:
    """Return whether cgroup v1 and v2 are mounted side by side, which crun may refuse and runc accepts."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return {"cgroup", "cgroup2"} <= {line.partition(" - ")[2].split(" ")[0] for line in lines}


def attainable_ulimits() -> list[str] | None:
    """Find out whether Podman's default ulimits, which are above this process's own, can be set here.

    Returns:
        None if they can be set. Otherwise the ulimits that can be set, as containers.conf has them.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    if effective >> CAP_SYS_RESOURCE & 1:
        return None
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    tasks = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    # Podman lowers its own limit to the number of pids that there can be, and cannot raise it again for a container.
    pids = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    tasks = pids if tasks == resource.RLIM_INFINITY else min(pids, tasks)
    return [f"nofile={files}:{files}", f"nproc={tasks}:{tasks}"]


def overlay_mounts(parent: Path, user: tuple[int, int] | None = None) -> bool:
    """Find out, by trying, whether an overlay can be mounted.

    Args:
        parent: The directory where the overlay's layers would be.
        user: The uid and gid to try as, in a user namespace of its own, as a rootless engine does; None: as root.

    Returns:
        Whether the mount worked.
    """
    with tempfile.TemporaryDirectory(prefix="overlay-", dir=parent) as name:
        for part in ("lower", "upper", "work", "merged"):
            (Path(name) / part).mkdir()
        for path in (Path(name), *Path(name).iterdir()):
            os.chown(path, *(user or (0, 0)))
        options = f"lowerdir={name}/lower,upperdir={name}/upper,workdir={name}/work"
        options += ",userxattr" if user is not None else ""
        script = f"mount -t overlay overlay -o {options} {name}/merged && touch {name}/merged/file"
        flags = ["--mount"] if user is None else ["--user", "--map-root-user", "--mount"]
        try:
            run(["unshare", *flags, "sh", "-c", script], user=user)
        except TestbedError:
            return False
        return True


def open_devices(state: State) -> None:
    """Open the devices that a rootless engine needs to everyone, as udev does, and note their former modes."""
    before: dict[str, int] = dict(state.get("devices", {}))
    for path in DEVICES:
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & FOR_ALL != FOR_ALL:
            before.setdefault(str(path), mode)
            state.set(devices=before)
            path.chmod(FOR_ALL)


def restore_devices(state: State) -> None:
    """Give the devices back the modes that they had before `open_devices`."""
    for name, mode in state.get("devices", {}).items():
        if Path(name).exists():
            Path(name).chmod(mode)
    state.set(devices={})
