"""Users of an image, whose files may be hostile."""

from __future__ import annotations

import pytest

from samebox.engine.oci.users import FILE_LIMIT, Identity, resolve_user
from samebox.errors import ConfigError

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nbroken\n:x:1:1::/:\nalice:x:1234:1235:Alice:/home/alice:/bin/sh\n"
GROUP = b"root:x:0:\nstaff:x:50:alice\n"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("root", Identity(0, 0, "root", "/root")),
        ("alice", Identity(1234, 1235, "alice", "/home/alice")),
        ("1234", Identity(1234, 1235, "alice", "/home/alice")),
        ("alice:staff", Identity(1234, 50, "alice", "/home/alice")),
        ("alice:7", Identity(1234, 7, "alice", "/home/alice")),
        ("77", Identity(77, 0, "77", "/")),
        ("77:88", Identity(77, 88, "77", "/")),
    ],
)
def test_users_as_docker_reads_them(spec: str, expected: Identity) -> None:
    """Names and numbers, with the gid and home of the image's passwd file."""
    assert resolve_user(spec, PASSWD, GROUP, "user") == expected


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("bob", "wrong config: user: there is no user 'bob' in the image's /etc/passwd; give a uid"),
        ("alice:wheel", "wrong config: user: there is no group 'wheel' in the image's /etc/group; give a gid"),
        ("4294967295", "ids are at most 2147483646"),
    ],
)
def test_unknown_users_are_named(spec: str, said: str) -> None:
    """The text says who is not there, and what to give."""
    with pytest.raises(ConfigError) as caught:
        resolve_user(spec, PASSWD, GROUP, f"user={spec!r}")
    assert said in str(caught.value)


def test_hostile_passwd_files_cost_little() -> None:
    """Endless, binary and malformed files are read up to a bound and passed over."""
    hostile = b"\xff\0:x:0:0::/:\n" + b"x" * 5000 + b":x:5:5::/:/\nok:x:\xd9\xa3:5::/:/\n" + b"a:x:1:1::/:/\n" * 100_000
    assert resolve_user("a", hostile, b"", "user").uid == 1
    with pytest.raises(ConfigError):
        resolve_user("alice", b"\n" * FILE_LIMIT + PASSWD, b"", "user")
