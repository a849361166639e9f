"""Owner, and who a user of an image is: read from the image's /etc/passwd, which is hostile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.users import FILE_LIMIT, PASSWD, resolve_user
from samebox_docker.archive_api import read_file

if TYPE_CHECKING:
    from samebox_docker.clients import ClientPool

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
        ConfigError: The image has no such user.
        EngineError: Its /etc/passwd is no file.
    """
    name, _, group = user.partition(":")
    try:
        passwd = read_file(pool, container, PASSWD, FILE_LIMIT)
    except RefusedError as error:
        if error.status != 404:
            raise
        passwd = b""
    found = resolve_user(f"{name}:{group}" if group.isdecimal() else name, passwd, b"", f"user={user!r}")
    return Owner(found.uid, found.gid)


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
            ConfigError: The image has no such user.
        """
        owner = self._known[image, user] = named_owner(self._pool, container, user)
        return owner
