"""Mistakes in a config that only the engine or the image shows: one error and one text for each, on every engine."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

from samebox.errors import ConfigError

_NAME_LOOKED_FOR = re.compile(r"unable to find (user|group) ([^:\s]+): no matching entries")
_NETWORK = re.compile(r"unable to find network with name or ID (\S+?):|network (\S+) not found")
_SOURCE = re.compile(r"bind source path does not exist: (.+)$|statfs (.+): no such file or directory")


def no_user(name: str) -> ConfigError:
    """Return the error for a user's name that the image does not have."""
    return ConfigError(f"wrong config: user: there is no user {name!r} in the image's /etc/passwd; give a uid")


def no_group(name: str) -> ConfigError:
    """Return the error for a group's name that the image does not have."""
    return ConfigError(f"wrong config: user: there is no group {name!r} in the image's /etc/group; give a gid")


def no_source(path: str, why: str = "No such file or directory") -> ConfigError:
    """Return the error for the source of a bind mount that can't be used.

    Args:
        path: The path on the engine's host.
        why: What is wrong with it.
    """
    found = f"the source {path!r} can't be used on the engine's host ({why})"
    return ConfigError(f"wrong config: mounts: {found}; make it, or correct the path")


def no_network(name: str, remedy: str = "make it first, or correct the name") -> ConfigError:
    """Return the error for a network that the engine does not have.

    Args:
        name: Its name.
        remedy: What to do.
    """
    return ConfigError(f"wrong config: network: the engine has no network {name!r}; {remedy}")


def no_workdir(path: str) -> ConfigError:
    """Return the error for a workdir that is no directory, or is below what is none."""
    return ConfigError(
        f"wrong config: workdir = {path!r}: something that is no directory is in the way; choose another workdir"
    )


def mistake(words: str) -> ConfigError | None:
    """Return the error for the words with which Docker or Podman refuse a config's mistake; None for other words.

    Args:
        words: The service's, or its runtime's.
    """
    if found := _NAME_LOOKED_FOR.search(words):
        return (no_user if found[1] == "user" else no_group)(found[2])
    if found := _NETWORK.search(words):
        return no_network(found[1] or found[2])
    if found := _SOURCE.search(words):
        return no_source(found[1] or found[2])
    return None


def is_blocked(root: str, path: str) -> bool:
    """Return whether an image, a directory of this host, has something that is no directory at a path, or above it.

    A link is not followed: where it leads is known inside alone.

    Args:
        root: The image's root directory.
        path: The path inside, from "/" on.
    """
    place = root
    for part in PurePosixPath(path).parts[1:]:
        place = os.path.join(place, part)  # noqa: PTH118
        if os.path.islink(place) or not os.path.isdir(place):  # noqa: PTH112, PTH114
            return os.path.lexists(place) and not os.path.islink(place)  # noqa: PTH114
    return False


def check_workdir(root: str, workdir: str) -> None:
    """Refuse a workdir that is blocked in an image; see `is_blocked`.

    Raises:
        ConfigError: It is.
    """
    if is_blocked(root, workdir):
        raise no_workdir(workdir)
