"""Checks of the names and paths that an agent sends. The agent is on the hostile side: it may send any bytes."""

from __future__ import annotations

import errno

from samebox.agent.records import decode_path
from samebox.errors import ProtocolError, os_error

NAME_MAX = 255
"""The longest name of a directory's entry, in bytes, on every file system of Linux."""
PATH_MAX = 4096
"""The longest path that a call of the kernel takes, in bytes."""
_NO_NAMES = (b"", b".", b"..")


def component(name: bytes) -> str:
    """Return the text of the name of a directory's entry.

    Raises:
        ProtocolError: The bytes are no name: empty, `.` or `..`, with a `/` or NUL, or longer than 255 bytes.
    """
    if name in _NO_NAMES or b"/" in name or b"\0" in name or len(name) > NAME_MAX:
        msg = f"the agent sent what is no name of a directory's entry: {shown(name)}"
        raise ProtocolError(msg)
    return decode_path(name)


def relative_path(path: bytes) -> str:
    """Return the text of the path of something below a directory.

    Raises:
        ProtocolError: The bytes are no path below a directory: empty or absolute, with a NUL, or with a component that
            is empty, `.`, `..` or longer than 255 bytes.
        SandboxOSError: With ENAMETOOLONG: the path is longer than 4096 bytes, as in a tree that is made to be deep.
    """
    parts = path.split(b"/")
    if b"\0" in path or any(part in _NO_NAMES or len(part) > NAME_MAX for part in parts):
        msg = f"the agent sent what is no path below a directory: {shown(path)}"
        raise ProtocolError(msg)
    if len(path) > PATH_MAX:
        raise os_error(errno.ENAMETOOLONG, decode_path(path[:NAME_MAX]) + "...")
    return decode_path(path)


def resolved_path(path: bytes, *, confined: bool) -> str:
    """Return the text of a path without links: an absolute path, or, from a confined operation, one below its root.

    Raises:
        ProtocolError: The bytes are no such path, or are longer than 4096 bytes.
    """
    if len(path) > PATH_MAX or path.startswith(b"/") is confined:
        msg = f"the agent sent what is no {'relative' if confined else 'absolute'} path: {shown(path)}"
        raise ProtocolError(msg)
    if confined:
        return "." if path == b"." else relative_path(path)
    below = path.removeprefix(b"/").removeprefix(b"/")  # POSIX lets a path begin with two slashes
    return "/" + relative_path(below) if below else "/"


def link_target(target: bytes) -> str:
    """Return the text of what a symbolic link points to, which need not be there.

    Raises:
        ProtocolError: The bytes are no target: with a NUL, or longer than 4096 bytes.
    """
    if b"\0" in target or len(target) > PATH_MAX:
        msg = f"the agent sent what no symbolic link can point to: {shown(target)}"
        raise ProtocolError(msg)
    return decode_path(target)


def shown(data: bytes) -> str:
    """Return bytes from an agent for a message, which stays short whatever the agent sent."""
    return repr(data) if len(data) <= 100 else f"{data[:100]!r}... ({len(data)} bytes)"
