"""What an agent may call a file: every name from inside is checked before anybody joins it to a path of the host."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from agent_peer import Peer
from lying_guest import LyingGuest
from samebox.agent import frames
from samebox.agent.records import Record, encode_item
from samebox.errors import PathNotFoundError, ProtocolError, SandboxOSError
from samebox.guest.operation import run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from samebox.agent.records import Field

FACTS: list[Field] = [("file_type", "f"), ("size", 1), ("mode", 0o644), ("mtime", 0), ("uid", 0), ("gid", 0)]
NO_PARTS = [b"", b".", b"..", b"a\0b", b"n" * 256]
NO_PATHS = [
    *NO_PARTS, b"/", b"/etc/passwd", b"../x", b"a/../../x", b"a/..", b"a//b", b"a/", b"./a", b"a/.", b"a/" + b"n" * 256,
]  # fmt: skip


def entry(name: bytes, **more: bytes) -> bytes:
    """Return an entry of a listing."""
    return encode_item([("name", name), *FACTS, *more.items()])


@pytest.mark.parametrize("name", [*NO_PARTS, b"/", b"a/b", b"../x", b"/x"])
def test_an_entry_of_a_directory_is_one_component(name: bytes) -> None:
    """`Path(host, entry.name)` must not leave the host's directory."""
    with LyingGuest(entry(b"good") + entry(name)) as guest:
        with pytest.raises(ProtocolError, match="no name of a directory's entry: b'"):
            run(guest.list_dir())
        assert not guest.peer.connection.usable


@pytest.mark.parametrize("name", NO_PATHS)
@pytest.mark.parametrize("operation", ["walk", "glob", "grep"])
def test_what_lies_below_a_directory_has_a_path_below_it(operation: str, name: bytes) -> None:
    """As `name` in a walk, as the result of a glob, as the file of a match."""
    item = entry(name) if operation != "grep" else encode_item([("name", name), ("line", 1), ("text", b"x")])
    with LyingGuest(item) as guest:
        calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "walk": guest.walk,
            "glob": lambda: guest.glob("*"),
            "grep": lambda: guest.grep("x"),
        }
        if operation == "grep" and not name:  # the answer for a path that is a file
            assert run(guest.grep("x", "asked"))[0].path == "asked"
            return
        with pytest.raises(ProtocolError, match="no path below a directory: b'"):
            run(calls[operation]())


def test_names_of_any_other_bytes_arrive() -> None:
    """The checks refuse nothing that a file may be called."""
    names = [b"...", b"-", b"\xff\n", b" ", b"n" * 255, b"~", b"C:\\"]
    with LyingGuest(b"".join(map(entry, names))) as guest:
        assert [found.name.encode("utf-8", "surrogateescape") for found in run(guest.list_dir())] == names
    with LyingGuest(entry(b"/".join(names))) as guest:
        assert run(guest.glob("*"))[0].encode("utf-8", "surrogateescape") == b"/".join(names)


def test_a_path_that_is_too_long_fails_its_call_alone() -> None:
    """A deep tree is the guest's doing and not the agent's: commands on the same connection go on."""
    with LyingGuest(entry(b"d/" * 2048 + b"f") * 30) as guest:
        with pytest.raises(SandboxOSError, match="File name too long: 'd/d/d") as caught:
            run(guest.walk())
        assert caught.value.errno == errno.ENAMETOOLONG
        assert len(str(caught.value)) < 500
        assert guest.peer.connection.usable
    with LyingGuest(entry(b"d/" * 2047 + b"fi")) as guest:
        assert len(run(guest.walk())[0].name) == 4096


@pytest.mark.parametrize("target", [b"a\0b", b"t" * 4097])
def test_what_a_link_points_to_is_checked(target: bytes) -> None:
    """In listings and in `stat`."""
    with LyingGuest(entry(b"link", target=target)) as guest, pytest.raises(ProtocolError, match="no symbolic link can"):
        run(guest.list_dir())
    with LyingGuest(end=[*FACTS, ("target", target)]) as guest, pytest.raises(ProtocolError, match="no symbolic link"):
        run(guest.stat("link", follow=False))


@pytest.mark.parametrize("path", [b"", b"a", b"/a/../b", b"/a//b", b"/a/", b"/a\0", b"/" + b"n" * 4096, b"///a"])
def test_realpath_is_absolute_and_has_no_dots(path: bytes) -> None:
    """Who compares it with a prefix must not be led out by what comes after it."""
    with LyingGuest(end=[("path", path)]) as guest, pytest.raises(ProtocolError, match="the agent sent what is no"):
        run(guest.realpath("x"))


@pytest.mark.parametrize(
    ("path", "root", "found"),
    [(b"/", None, "/"), (b"//a", None, "/a"), (b"/a/b", None, "/a/b"), (b".", b"/r", "."), (b"a/b", b"/r", "a/b")],
)
def test_realpath_of_honest_agents(path: bytes, root: bytes | None, found: str) -> None:
    """Musl keeps two slashes at the start; a confined path is relative to its root."""
    with LyingGuest(end=[("path", path)], root=root) as guest:
        assert run(guest.realpath("x")) == found


@pytest.mark.parametrize("path", [b"/a", b"..", b"a/../b", b""])
def test_realpath_of_a_confined_path_stays_below_its_root(path: bytes) -> None:
    """`Path(root, path)` must not leave the root."""
    with LyingGuest(end=[("path", path)], root=b"/r") as guest, pytest.raises(ProtocolError, match="the agent sent"):
        run(guest.realpath("x"))


def test_a_listing_that_ends_inside_an_item_is_no_listing() -> None:
    """A cut list is not a shorter one."""
    with LyingGuest(entry(b"good") + entry(b"cut")[:-1]) as guest, pytest.raises(ProtocolError, match="inside an item"):
        run(guest.list_dir())


def test_output_ends_on_no_channel_that_the_operation_lacks() -> None:
    """A listing has no stderr to end."""
    peer = Peer()
    peer.greet()
    call = peer.connection.call(13, [("path", b"x")], {})
    peer.socket.sendall(frames.frame(frames.EOF, call.stream, b"\2"))
    with pytest.raises(ProtocolError, match="channel 2, which this operation does not have"):
        peer.result(call)
    peer.close()


def test_a_path_of_an_error_has_no_nul() -> None:
    """It becomes the error's `filename`, which callers hand to the host's functions."""
    with LyingGuest() as guest:
        assert isinstance(guest._failure(Record(errno=(2).to_bytes(8, "big"), path=b"/a"), "a"), PathNotFoundError)
        with pytest.raises(ProtocolError, match="'path' with a NUL"):
            guest._failure(Record(errno=(2).to_bytes(8, "big"), path=b"/a\0b"), "a")
