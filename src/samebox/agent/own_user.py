"""is_own_user: whether a user that a call names is the one that the sandbox's commands run as anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.agent.files import AgentFiles
from samebox.errors import SandboxError
from samebox.guest.operation import run

if TYPE_CHECKING:
    from samebox.agent.caller import Connections
    from samebox.agent.records import Record

_LONGEST_PASSWD = 1 << 20


def is_own_user(user: str, configured: str | None, welcome: Record, connections: Connections) -> bool:
    """Return whether a user is the sandbox's own, for an engine that has no other.

    Args:
        user: A name, uid or uid:gid.
        configured: The config's user.
        welcome: What the agent said of itself.
        connections: The connections to the agent, whose /etc/passwd is asked where a name has to be looked up.
    """
    uid, gid = welcome.number("uid", -1), welcome.number("gid", -1)
    own, group = str(uid), str(gid)
    name, _, of = user.partition(":")
    if of and of != group:
        return user == configured
    if name == own or user == configured or (name == "root" and uid == 0):
        return True
    if name.isdecimal():
        return False
    try:
        passwd = run(AgentFiles(connections, _LONGEST_PASSWD).read_bytes("/etc/passwd"))
    except (SandboxError, OSError):
        return False
    entries = (line.split(":") for line in passwd.decode(errors="surrogateescape").split("\n"))
    return any(entry[0] == name and entry[2:3] == [own] for entry in entries)
