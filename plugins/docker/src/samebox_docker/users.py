"""Owner, and who a user of an image is: read from the image's /etc/passwd, which is hostile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.engine.oci.refusal import RefusedError
from samebox.errors import EngineError
from samebox_docker.archive_api import read_file

if TYPE_CHECKING:
    from samebox_docker.clients import ClientPool

PASSWD = "/etc/passwd"  # noqa: S105 - a path
PASSWD_LIMIT = 1 << 20
"""How much of it is looked at, in bytes."""
MAX_ID = (1 << 32) - 2
ROOT_NAMES = frozenset({"", "0", "root"})


@dataclass(frozen=True, slots=True)
class Owner:
    """A user's and a group's number inside a sandbox."""

    uid: int
    gid: int


def numeric_owner(user: str) -> Owner | None:
    """Return who a user is if that can be told without the image: root, a uid or uid:gid; else None."""
    name, _, group = user.partition(":")
    gid = int(group) if group.isdecimal() else 0
    if name in ROOT_NAMES:
        return Owner(0, gid)
    return Owner(int(name), gid) if name.isdecimal() else None


def named_owner(pool: ClientPool, container: str, user: str) -> Owner:
    """Look a user's name up in a created container.

    Args:
        pool: Clients of the daemon.
        container: A container of the image.
        user: A name, or name:group; the group counts only if it is a number, as the owner alone decides here.

    Raises:
        EngineError: The image has no such user.
    """
    name, _, group = user.partition(":")
    try:
        text = read_file(pool, container, PASSWD, PASSWD_LIMIT)
    except RefusedError as error:
        if error.status != 404:
            raise
        text = b""
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 4 and fields[0] == name.encode() and fields[2].isdigit() and fields[3].isdigit():
            uid, gid = int(fields[2]), int(group) if group.isdecimal() else int(fields[3])
            if uid <= MAX_ID and gid <= MAX_ID:
                return Owner(uid, gid)
    msg = f"the image has no user {name!r} in its {PASSWD}; name one that it has, or give a uid or uid:gid"
    raise EngineError(msg)


class Users:
    """Who the users of images are; each is looked up once.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self._known: dict[tuple[str, str], Owner] = {}

    def known(self, image: str, user: str) -> Owner | None:
        """Return who a user is, or None if that has to be looked up in a container."""
        return numeric_owner(user) or self._known.get((image, user))

    def look_up(self, container: str, image: str, user: str) -> Owner:
        """Look a user's name up in a created container of the image.

        Raises:
            EngineError: The image has no such user.
        """
        owner = self._known[image, user] = named_owner(self._pool, container, user)
        return owner
