"""The memory file systems of a container, that of its workdir among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.config.units import Tmpfs
from samebox.engine.oci.mounts import mount_above, tmpfs_options
from samebox.errors import UnsupportedError
from samebox_docker.archive_api import change_directory, path_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from samebox.config.model import SandboxConfig
    from samebox_docker.clients import ClientPool
    from samebox_docker.users import Owner


def tmpfs_mounts(config: SandboxConfig, volumes: Iterable[str], owner: Owner | None) -> dict[str, str]:
    """Return all memory file systems of a sandbox, with Docker's options.

    Args:
        config: What the sandbox is asked to be.
        volumes: Where the image has volumes, and where the config mounts something.
        owner: The sandbox's user; None: not root, and not known yet.
    """
    mounts = {path: _options(config, tmpfs) for path, tmpfs in config.tmpfs.items()}
    workdir = workdir_tmpfs(config, volumes, owner)
    if workdir is not None:
        mounts[config.workdir] = _options(config, workdir, owner)
    return mounts


def workdir_tmpfs(config: SandboxConfig, volumes: Iterable[str], owner: Owner | None) -> Tmpfs | None:
    """Return the memory file system that is mounted right at the workdir, or None if there is none.

    One is needed under a read-only root, unless something writable is mounted there or above; and for a user other than
    root also where the workdir lies below another one: there the container runtime makes the directory, as root, when
    nothing can be changed from outside any more.

    Args:
        config: What the sandbox is asked to be.
        volumes: Where the image has volumes, and where the config mounts something.
        owner: The sandbox's user; None: not root, and not known yet.
    """
    above, volume = mount_above(config.workdir, config.tmpfs), mount_above(config.workdir, volumes)
    if above is not None and volume is not None and len(volume) > len(above):
        return None
    if above == config.workdir:
        return config.tmpfs[above]
    if above is not None:
        root = owner is not None and owner.uid == 0
        return None if root else config.tmpfs[above].model_copy(update={"mode": 0o755})
    if config.read_only and volume is None:
        return Tmpfs(mode=0o755)
    return None


def keep_modes(pool: ClientPool, container: str, config: SandboxConfig) -> None:
    """Give the directories below memory file systems the modes asked for, for a runtime that takes them from there.

    runc before 1.1.9 gave a memory file system the mode of the directory that it hides, whatever its options said
    (opencontainers/runc #3916); Debian 12 has such a one.

    Args:
        pool: Clients of the daemon.
        container: The created container.
        config: What the sandbox is asked to be.

    Raises:
        UnsupportedError: The directory is on a root file system that is read-only, and another mode was asked for.
    """
    for path, tmpfs in config.tmpfs.items():
        state = path_state(pool, container, path)
        if state is None or state.kind != "directory" or state.mode == tmpfs.mode:
            continue
        if not config.read_only:
            change_directory(pool, container, path, uid=0, gid=0, mode=tmpfs.mode)
        elif "mode" in tmpfs.model_fields_set:
            reason = (
                f"the daemon's runc is older than 1.1.9, which keeps the mode {state.mode:o} that {path} has in the "
                f"image; leave out mode={tmpfs.mode:o}, or read_only, or update runc"
            )
            raise UnsupportedError(Capability.TMPFS, "docker", reason)


def _options(config: SandboxConfig, tmpfs: Tmpfs, owner: Owner | None = None) -> str:
    options = tmpfs_options(tmpfs, config.files_in_memory)
    if owner is not None and (owner.uid or owner.gid):
        options += [f"uid={owner.uid}", f"gid={owner.gid}"]
    return ",".join(options)
