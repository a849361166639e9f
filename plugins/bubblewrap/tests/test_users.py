"""Users and paths of an image, whose files may be hostile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from samebox.errors import ConfigError, EngineError
from samebox_bubblewrap.paths import read_inside, resolve_inside
from samebox_bubblewrap.users import FILE_LIMIT, Identity, resolve_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox

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
        ("bob", "user='bob': there is no user 'bob' in the image's /etc/passwd, which has root, alice. Give a uid."),
        ("alice:wheel", "there is no group 'wheel' in the image's /etc/group, which has root, staff. Give a gid."),
        ("4294967295", "ids are at most 2147483646"),
    ],
)
def test_unknown_users_are_named(spec: str, said: str) -> None:
    """The text says who there is."""
    with pytest.raises(ConfigError) as caught:
        resolve_user(spec, PASSWD, GROUP, f"user={spec!r}")
    assert said in str(caught.value)


def test_hostile_passwd_files_cost_little() -> None:
    """Endless, binary and malformed files are read up to a bound and passed over."""
    hostile = b"\xff\0:x:0:0::/:\n" + b"x" * 5000 + b":x:5:5::/:/\nok:x:\xd9\xa3:5::/:/\n" + b"a:x:1:1::/:/\n" * 100_000
    assert resolve_user("a", hostile, b"", "user").uid == 1
    with pytest.raises(ConfigError):
        resolve_user("alice", b"\n" * FILE_LIMIT + PASSWD, b"", "user")


def test_paths_stay_inside(tmp_path: Path) -> None:
    """Absolute links begin at the image's root, and .. does not leave it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "up").symlink_to("../../../../etc")
    (tmp_path / "absolute").symlink_to("/a")
    (tmp_path / "a/back").symlink_to("../absolute")
    (tmp_path / "loop").symlink_to("loop")
    assert resolve_inside(str(tmp_path), "/up/passwd") == "/etc/passwd"
    assert resolve_inside(str(tmp_path), "absolute/new/dir") == "/a/new/dir"
    assert resolve_inside(str(tmp_path), "/a/back/../../x") == "/x"
    with pytest.raises(EngineError, match="more than 40 symbolic links"):
        resolve_inside(str(tmp_path), "/loop/x")


def test_reading_follows_no_link_out_and_waits_for_nobody(tmp_path: Path) -> None:
    """A passwd that is a link to the host's, a FIFO or a directory is not read."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/etc/hostname")
    assert read_inside(str(tmp_path), "/etc/passwd", 100) is None
    os.mkfifo(tmp_path / "etc/group")
    assert read_inside(str(tmp_path), "/etc/group", 100) is None
    assert read_inside(str(tmp_path), "/etc", 100) is None
    (tmp_path / "etc/hostname").write_bytes(b"x" * 200)
    assert read_inside(str(tmp_path), "/etc/passwd", 100) == b"x" * 100


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (None, "uid=0(root) gid=0(root)"),
        ("alice", "uid=1234(alice) gid=1235(alice)"),
        ("alice:staff", "uid=1234(alice) gid=50(staff)"),
        ("4321:8765", "uid=4321 gid=8765"),
    ],
)
def test_users_of_an_image(make_box: Callable[..., Sandbox], rootfs: Path, user: str | None, expected: str) -> None:
    """Who commands run as, seen from inside; files are theirs."""
    box = make_box(image=f"dir:{rootfs}", user=user)
    assert box.exec(["id"]).text.startswith(expected)
    uid, gid = (part.split("=")[1].split("(")[0] for part in expected.split(" "))
    assert box.sh("touch x && ls -ln x").text.split()[2:4] == [uid, gid]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("root", "uid=0(root) gid=0(root)"),
        ("nobody", "uid=65534(nobody) gid=65534(nogroup)"),
        ("4321", "uid=4321(sandbox) gid=4321(sandbox)"),
        ("4321:8765", "uid=4321(sandbox) gid=8765(sandbox)"),
    ],
)
def test_users_of_the_host_image(make_box: Callable[..., Sandbox], user: str, expected: str) -> None:
    """The same on the host's programs, whose users are not the host's."""
    box = make_box(user=user)
    assert box.exec(["id"]).text.startswith(expected)
    assert box.sh("touch x").ok


def test_unknown_user_starts_nothing(make_box: Callable[..., Sandbox]) -> None:
    """A name that is the host's is unknown inside."""
    with pytest.raises(ConfigError, match="there is no user 'daemon' in the image's /etc/passwd"):
        make_box(user="daemon").start()
