"""The removal of what engines leave behind: processes, mounts, cgroups and directories."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run
from testbed.process import end_processes, processes

if TYPE_CHECKING:
    from testbed.layout import Layout
    from testbed.state import State

HELPERS = {
    "aardvark-dns",
    "catatonit",
    "conmon",
    "containerd",
    "containerd-shim-runc-v2",
    "crun",
    "docker-proxy",
    "dockerd",
    "fuse-overlayfs",
    "netavark",
    "pasta",
    "pasta.avx2",
    "podman",
    "rootlessport",
    "runc",
    "slirp4netns",
}
"""The programs of engines. A process of such a program with a path of the bed on its command line is the bed's."""

PODMAN_CGROUP = "libpod_parent"
"""The cgroup above the containers of every rootful Podman that does not use systemd."""

SHARED = ("/run/containers", "/run/docker", "/run/netns", "/run/runc", "/run/crun")
"""The directories that engines make for all engines of a machine, whatever their settings, and leave behind empty."""


def end_helpers(layout: Layout) -> None:
    """End the processes that a killed engine left running.

    Raises:
        TestbedError: A process survives.
    """
    paths = (f"{layout.state}/", f"{layout.run}/")
    left = []
    for record in processes():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{record.pid}/cmdline").read_bytes().decode(errors="replace")
            program = Path(f"/proc/{record.pid}/exe").readlink().name
            if program in HELPERS and any(path in command for path in paths):
                left.append(record)
    end_processes(left)


def note_shared(state: State) -> None:
    """Note which of the directories and cgroups that engines share exist, unless this was noted already."""
    if state.get("shared") is None:
        found = [*(str(path) for path in _cgroups({PODMAN_CGROUP})), *filter(os.path.exists, SHARED)]
        state.set(shared=found)


def remove_shared(layout: Layout, state: State) -> None:
    """Remove the shared directories and cgroups that engines left, unless they were there before or are in use."""
    left = _cgroups({layout.cgroup, PODMAN_CGROUP})
    for name in SHARED:
        left += [Path(directory) for directory, _, _ in os.walk(name, topdown=False)]
    before = state.get("shared", [PODMAN_CGROUP, *SHARED])
    for path in left:
        if any(path.is_relative_to(name) or path.name == name for name in before):
            continue
        # A directory that is in use has content, and stays.
        with contextlib.suppress(OSError, TestbedError):
            if not any(path.iterdir()):
                # Podman mounts /run/netns onto itself.
                unmount(path)
            path.rmdir()


def unmount(path: Path) -> None:
    """Unmount all file systems that are mounted at and below a directory.

    Raises:
        TestbedError: A file system stays mounted.
    """
    points = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if Path(point).is_relative_to(path):
            points.append(point)
    for point in reversed(points):
        run(["umount", point], remedy=f"End what uses it: `fuser -vm {point}` says who does.")


def remove_tree(path: Path) -> None:
    """Remove a tree if it is there, but nothing of the file systems that are mounted in it.

    Raises:
        TestbedError: A part of the tree can't be removed.
    """
    unmount(path)
    run(["rm", "--recursive", "--force", "--one-file-system", path])


def _cgroups(names: set[str]) -> list[Path]:
    """Return the cgroups of these names and the cgroups inside, the innermost first."""
    found = (Path(directory) for directory, _, _ in os.walk("/sys/fs/cgroup", topdown=False))
    return [path for path in found if names & set(path.parts)]
