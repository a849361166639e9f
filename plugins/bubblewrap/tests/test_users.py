"""Users and paths of an image, whose files may be hostile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from samebox.errors import ConfigError, EngineError
from samebox_bubblewrap.paths import read_inside, resolve_inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox


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


@pytest.mark.parametrize("read_only", [False, True])
def test_home_of_an_unknown_uid(make_box: Callable[..., Sandbox], rootfs: Path, *, read_only: bool) -> None:
    """A uid that the image does not know has a home that it may write to, and a name."""
    box = make_box(image=f"dir:{rootfs}", user="4321", read_only=read_only)
    assert box.sh('touch "$HOME/x" && echo "$HOME $USER"').text == "/workspace 4321\n"
    box = make_box(image=f"dir:{rootfs}", user="4321", workdir="/elsewhere", read_only=read_only)
    assert box.sh('touch "$HOME/x" && echo "$HOME $USER"').text == "/elsewhere 4321\n"


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
