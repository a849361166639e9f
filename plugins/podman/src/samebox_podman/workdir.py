"""WorkdirPlan: how the workdir gets to be there and writable by the sandbox user, with the fewest calls.

The sandbox itself can't see to that: it has no capability to chown, and its user is often not root. What Podman does
by itself (4.3, 5.4 and 5.8 tried): with `create_working_dir` it makes a missing working directory and gives it to
the container's user, but leaves one alone that the image has; the mount option U gives a tmpfs or a volume to that
user; and a directory that is put through the archive API is chowned to that user. It resolves names by the image's
/etc/passwd each time, confined to the container, so nobody here has to read that hostile file. To do so it starts
itself anew, which takes 40 ms; so a workdir right below `/` is left to the agent, if it is root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.engine.oci.mounts import mount_above

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from samebox.engine.oci.path_stat import PathStat

CONFINED = (5, 8)
"""The first version that resolves a working directory's components inside the container. Before, it follows links in
its parent directories on the *host*: with an image that has /a -> /etc, the workdir /a/b became the host's /etc/b.
https://github.com/containers/podman/commit/d18e44e9ab"""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of an image's file system."""

    present: PathStat | None
    """What it has at the workdir's path; None: nothing."""


@dataclass(frozen=True, slots=True)
class WorkdirPlan:
    """What `create` has to do for the workdir."""

    create: bool = False
    """Podman makes it, as the container's working directory, which is `/` otherwise: a working directory that an image
    made could be a link to a file descriptor of the runtime (CVE-2024-21626)."""
    tmpfs: bool = False
    """A private tmpfs is mounted there."""
    give: str | None = None
    """The tmpfs or volume that it lies on, whose owner becomes the sandbox user."""
    put: int | None = None
    """Put a directory with this mode there through the archive API."""
    mounted: bool = False
    """That directory is on a volume of the config, and keeps its mode if it is there."""


def plan_workdir(
    workdir: str,
    *,
    read_only: bool,
    tmpfs: Iterable[str],
    volumes: Iterable[str],
    mounts: Mapping[str, bool],
    version: tuple[int, ...],
    root: bool,
    mapped: bool,
    look: Look | None,
) -> WorkdirPlan:
    """Decide how the workdir comes to be.

    Args:
        workdir: Its path.
        read_only: Whether the root file system refuses writes.
        tmpfs: Paths of the tmpfs mounts asked for.
        volumes: Paths of the image's volumes.
        mounts: Paths of the mounts asked for, and whether each is a volume that may be written.
        version: Podman's.
        root: Whether the sandbox user is root.
        mapped: Whether the container's user namespace maps users in a way of its own: 4.3 gives a working directory
            that it makes to another user then.
        look: What is known of the image; None: nothing yet.
    """
    every = {*tmpfs, *volumes, *mounts}
    over = mount_above(workdir, every)
    if over is not None:
        return _on_mount(over, mounts, tmpfs=over in tmpfs)
    if read_only:
        return WorkdirPlan(tmpfs=True)
    present = look.present if look is not None else None
    if present is not None:
        if present.kind == "directory" and present.mode & 0o002:
            return WorkdirPlan()
        return WorkdirPlan(put=(present.mode & 0o777 if present.kind == "directory" else 0o755) | 0o700)
    # A parent of a mount counts as mounted for Podman, which then leaves its making to the runtime: owned by root.
    below = any(path.startswith(f"{workdir}/") for path in every)
    if mapped or below or (workdir.count("/") > 1 and version < CONFINED):
        return WorkdirPlan(put=0o755)
    return WorkdirPlan(create=not root or look is None or workdir.count("/") > 1)


def _on_mount(path: str, mounts: Mapping[str, bool], *, tmpfs: bool) -> WorkdirPlan:
    if tmpfs:
        # The agent makes the directories below the mount itself.
        return WorkdirPlan(give=path)
    if path not in mounts:
        return WorkdirPlan(put=0o755, mounted=True)  # a volume of the image's, which U does not give away
    # A directory of the host keeps its owner, and U would give away all that a volume holds.
    return WorkdirPlan(put=0o755, mounted=True) if mounts[path] else WorkdirPlan()
