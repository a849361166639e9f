"""Identity: who a container's processes are, resolved from the image's own /etc/passwd and /etc/group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.engine.mistakes import no_group, no_user
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWD = "/etc/passwd"  # noqa: S105 - a path
GROUP = "/etc/group"
FILE_LIMIT = 1 << 20
"""How much of a passwd or group file is looked at, in bytes: it is the image's, and may be hostile."""
MAX_ID = (1 << 31) - 2
"""The largest id that every engine's tools can read."""
_LONGEST_LINE = 4096
_FEWEST_FIELDS = 4


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
    entries = [[*entry, "", ""] for entry in _entries(passwd) if _is_number(entry[2]) and _is_number(entry[3])]
    found = next((entry for entry in entries if entry[0] == user), None)
    if found is None and _is_number(user):
        found = next((entry for entry in entries if int(entry[2]) == int(user)), [user, "", user, "0", "", "/", ""])
    if found is None:
        raise no_user(user)
    gid = found[3]
    if colon:
        groups = [entry for entry in _entries(group) if _is_number(entry[2])]
        gid = next((entry[2] for entry in groups if entry[0] == group_name), group_name)
        if not _is_number(gid):
            raise no_group(group_name)
    if int(found[2]) > MAX_ID or int(gid) > MAX_ID:
        msg = f"{what}: ids are at most {MAX_ID} (found {spec!r})"
        raise ConfigError(msg)
    home = found[5] if found[5].startswith("/") else "/"
    return Identity(int(found[2]), int(gid), found[0], home)


def _entries(text: bytes) -> Iterator[list[str]]:
    for line in text[:FILE_LIMIT].decode(errors="replace").splitlines():
        entry = line.split(":")
        if len(entry) >= _FEWEST_FIELDS and entry[0] and "\0" not in line and len(line) < _LONGEST_LINE:
            yield entry


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
