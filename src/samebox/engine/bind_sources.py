"""Bind mounts' sources on this host: whether a sandbox could have chosen where they lead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.errors import ConfigError

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig

__all__ = ["check_sources"]

_MOST_LINKS = 40
"""After as many the kernel gives up, too."""


def check_sources(config: SandboxConfig) -> None:
    """Refuse a bind mount whose source leads through a link that a sandbox could have made.

    A sandbox that was given a directory to write to can leave a link there, and who mounts what the link is named gives
    away what it leads to. So a link is followed only in a directory that this user may not write to, as a download
    does, or where the mount says `follow_links`. What is not there is for the engine to tell.

    Args:
        config: The sandbox's settings, whose sources are paths of this host.

    Raises:
        ConfigError: There is such a link.
    """
    for mount in config.mounts:
        if mount.type == "bind" and not mount.follow_links:
            link = _writable_link(mount.source)
            if link is not None:
                raise ConfigError(
                    f"wrong config: mounts: the source {mount.source!r} goes through the link {str(link)!r}, which a "
                    f"sandbox could have made; give its real path, {os.path.realpath(mount.source)!r}, or "
                    "follow_links=True (the option 'follow') if you trust it"
                )


def _writable_link(path: str) -> Path | None:
    """Return the first link on a path that is in a directory which this user may write to."""
    place, left, links = Path("/"), list(reversed(Path(path).parts[1:])), 0
    while left:
        part = left.pop()
        if part == "..":
            place = place.parent
            continue
        below = place / part
        if not below.is_symlink():
            place = below
            continue
        if os.access(place, os.W_OK):
            return below
        links += 1
        if links > _MOST_LINKS:
            return None
        target = below.readlink()
        if target.is_absolute():
            place = Path("/")
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return None
