"""Mounts and memory file systems of a container: which one a path lies on, and their options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from samebox.config.model import SandboxConfig
    from samebox.config.units import Tmpfs

RELABEL = {"shared": "z", "private": "Z"}
"""The mount options that relabel files for SELinux."""
_HONEST_RUNC = (1, 1, 9)


def volume_names(config: SandboxConfig) -> list[str]:
    """Return the names of the volumes that a sandbox uses, each once."""
    return sorted({mount.source for mount in config.mounts if mount.type == "volume"})


def mount_above(path: str, mounts: Iterable[str]) -> str | None:
    """Return the innermost mount point that holds a path, the path itself included, or None."""
    holding = [mount for mount in mounts if path == mount or path.startswith(mount.rstrip("/") + "/")]
    return max(holding, key=len, default=None)


def tmpfs_options(tmpfs: Tmpfs, size: int | None) -> list[str]:
    """Return the mount options of a memory file system, with nothing left to an engine's defaults (as noexec).

    Args:
        tmpfs: What was asked for.
        size: The size of one that was given none, in bytes; see `SandboxConfig.files_in_memory`.
    """
    options = ["rw", "nosuid", "nodev", "exec" if tmpfs.exec else "noexec", f"mode={tmpfs.mode:o}"]
    if (bound := tmpfs.size or size) is not None:
        options.append(f"size={bound}")
    return options


def runc_hides_modes(version: str) -> bool:
    """Tell whether a runc gives a memory file system the mode of the directory that it hides, whatever its options say.

    Those before 1.1.9 do (opencontainers/runc #3916); Debian 12 has 1.1.5.

    Args:
        version: With the version's numbers somewhere in it, as "v1.1.5-0-gf19387a6".
    """
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) < _HONEST_RUNC
