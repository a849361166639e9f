"""Identity: who a sandbox's processes are, resolved from the image's own /etc/passwd and /etc/group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FILE_LIMIT", "Identity", "resolve_user"]

FILE_LIMIT = 1 << 20
"""How much of a passwd or group file is looked at, in bytes: it is the image's, and may be hostile."""
_LARGEST = 2**31 - 2  # bwrap reads ids into an int


@dataclass(frozen=True, slots=True)
class Identity:
    """A user inside the sandbox."""

    uid: int
    gid: int
    name: str
    """As in the image's passwd file; the uid where that has none."""
    home: str


def resolve_user(spec: str, passwd: bytes, group: bytes, what: str) -> Identity:
    """Find out who `name`, `uid`, `name:group` or `uid:gid` is, as `docker run --user` does.

    A uid that the passwd file does not know is fine; its group is then 0 and its home /.

    Args:
        spec: What the config or the image asks for.
        passwd: The image's /etc/passwd; b"" if it has none.
        group: The image's /etc/group; b"" if it has none.
        what: Where `spec` comes from, for the error.

    Returns:
        Who it is.

    Raises:
        ConfigError: There is no such name, or the id is out of range.
    """
    user, colon, group_name = spec.partition(":")
    entries = [entry for entry in _entries(passwd, 7) if entry[2].isdecimal() and entry[3].isdecimal()]
    found = next((entry for entry in entries if entry[0] == user), None)
    if found is None and user.isdecimal():
        found = next((entry for entry in entries if int(entry[2]) == int(user)), [user, "", user, "0", "", "/", ""])
    if found is None:
        names = ", ".join(entry[0] for entry in entries[:20]) or "nobody"
        raise ConfigError(
            f"{what}: there is no user {user!r} in the image's /etc/passwd, which has {names}. Give a uid."
        )
    gid = found[3]
    if colon:
        groups = [entry for entry in _entries(group, 4) if entry[2].isdecimal()]
        gid = next((entry[2] for entry in groups if entry[0] == group_name), group_name)
        if not gid.isdecimal():
            names = ", ".join(entry[0] for entry in groups[:20]) or "none"
            raise ConfigError(
                f"{what}: there is no group {group_name!r} in the image's /etc/group, which has {names}. Give a gid."
            )
    if int(found[2]) > _LARGEST or int(gid) > _LARGEST:
        raise ConfigError(f"{what}: ids are at most {_LARGEST} (found {spec!r})")
    home = found[5] if found[5].startswith("/") else "/"
    return Identity(int(found[2]), int(gid), found[0], home)


def _entries(text: bytes, fields: int) -> Iterator[list[str]]:
    for line in text[:FILE_LIMIT].decode(errors="replace").splitlines():
        entry = line.split(":")
        if len(entry) >= fields and entry[0] and "\0" not in line and len(line) < 4096:
            yield entry
