"""The first exchange, and what the agent does with bytes that are no protocol."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from samebox.engine.program import agent_program
from wire import (
    CANCEL,
    CREDIT,
    DATA,
    END,
    EOF,
    ERROR,
    HELLO,
    MAX_REQUEST,
    OPEN,
    OPERATIONS,
    PING,
    PONG,
    REPLY,
    RESIZE,
    SIGNAL,
    WINDOW,
    decode,
    encode,
    frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wire import Agent

VERSIONS = encode(version_min=1, version_max=1)


# --- the first exchange ---


def test_welcome(start: Callable[..., Agent]) -> None:
    """Who the agent is."""
    agent = start(greet=False)
    welcome = agent.wire.hello(version_max=7)
    assert welcome == {"version": 1, "pid": agent.process.pid, "uid": os.geteuid(), "gid": os.getegid()}


def test_digest(start: Callable[..., Agent], agent_program: Path) -> None:
    """The digest is that of the program's file."""
    welcome = start(greet=False).wire.hello(want_digest=1)
    assert welcome["digest"] == hashlib.sha256(agent_program.read_bytes()).digest()


def test_silent_until_asked(start: Callable[..., Agent]) -> None:
    """Nothing is said before HELLO has come, to its last byte."""
    wire = start(greet=False).wire
    hello = frame(HELLO, 0, VERSIONS)
    wire.sock.settimeout(0.05)
    for byte in hello[:-1]:
        wire.sock.send(bytes([byte]))
    with pytest.raises(TimeoutError):
        wire.receive()
    wire.sock.settimeout(5)
    wire.sock.send(hello[-1:])
    assert decode(wire.receive().payload)["version"] == 1


@pytest.mark.parametrize(("least", "most"), [(2, 9), (0, 0)])
def test_no_version_in_common(start: Callable[..., Agent], least: int, most: int) -> None:
    """The agent says which versions it knows."""
    wire = start(greet=False).wire
    wire.send(HELLO, 0, encode(version_min=least, version_max=most))
    refusal = wire.refusal()
    assert (refusal["errno"], refusal["version_min"], refusal["version_max"]) == (errno.EPROTO, 1, 1)


def test_workdir_is_made(start: Callable[..., Agent], tmp_path: Path) -> None:
    """The workdir is created with its parents."""
    wire = start(greet=False).wire
    wire.hello(workdir=str(tmp_path / "a" / "b"))
    assert wire.sh("pwd").stdout == f"{tmp_path}/a/b\n".encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its root directory")
@pytest.mark.parametrize(("place", "mode"), [(".samebox/agent", 0o755), ("elsewhere/agent", 0o555)])
def test_root_may_write_in_its_own_root(start: Callable[..., Agent], tmp_path: Path, place: str, mode: int) -> None:
    """Podman makes an image's / 0555, which root may not write to. Where the agent is elsewhere, / is a host's."""
    root = tmp_path / "root"
    for name in (place.partition("/")[0], "proc"):
        (root / name).mkdir(parents=True)
    (root / place).write_bytes(agent_program().data)  # the one that is delivered, which needs no library
    (root / place).chmod(0o755)
    root.chmod(0o555)
    inside = 'mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"'
    enter = ["unshare", "-m", "sh", "-c", inside, str(root)]
    wire = start(greet=False, prefix=enter, program=f"/{place}").wire
    wire.hello(workdir="/")
    assert root.stat().st_mode & 0o7777 == mode


@pytest.mark.parametrize(
    ("workdir", "number"), [("file", errno.ENOTDIR), ("file/x", errno.ENOTDIR), ("/proc/x", errno.ENOENT)]
)
def test_workdir_that_can_not_be(start: Callable[..., Agent], tmp_path: Path, workdir: str, number: int) -> None:
    """What can't be the workdir ends the connection, with the reason."""
    (tmp_path / "file").touch()
    wire = start(greet=False).wire
    wire.send(HELLO, 0, VERSIONS + encode(workdir=workdir))
    refusal = wire.refusal()
    assert (refusal["errno"], refusal["kind"], refusal["path"]) == (number, b"cwd", workdir.encode())


def test_two_pipes(agent_program: Path, sanitized: dict[str, str]) -> None:
    """Without a descriptor the agent serves on its stdin and stdout, and keeps commands away from them."""
    with subprocess.Popen(
        [agent_program, "serve"], env=sanitized, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        request = bytes([OPERATIONS["exec"]]) + encode(argv=["sh", "-c", "cat; echo out; echo err >&2"])
        process.stdin.write(frame(HELLO, 0, VERSIONS) + frame(OPEN, 1, request))
        process.stdin.flush()
        got = b""
        while not got.endswith(frame(END, 1, encode(exit_code=0))):
            got += os.read(process.stdout.fileno(), 65536)
        assert frame(DATA, 1, b"\1out\n") in got
        assert frame(DATA, 1, b"\2err\n") in got
        process.stdin.close()
        assert process.wait(5) == 0


# --- frames ---


def test_ping(agent: Agent) -> None:
    """PONG brings the same bytes back."""
    for data in (b"", b"x", bytes(range(64))):
        agent.wire.send(PING, 0, data)
        assert agent.wire.receive() == (PONG, 0, data)


def test_frames_of_unknown_streams(agent: Agent) -> None:
    """What crosses with the end of a stream is ignored."""
    wire = agent.wire
    for kind, payload in [
        (DATA, b"\0late"),
        (EOF, b"\0"),
        (CREDIT, b"\1\0\0\0\1"),
        (SIGNAL, b"\0\0\0\x0f"),
        (RESIZE, b"\0\1\0\1"),
        (CANCEL, b""),
        (CANCEL, b"\0\0\0\1"),
    ]:
        wire.send(kind, 77, payload)
    assert wire.sh("exit 3").result == {"exit_code": 3}


def test_stream_id_again(agent: Agent) -> None:
    """An id may be used anew after its end."""
    for _ in range(3):
        agent.wire.last = 0
        assert agent.wire.sh("exit 3").result == {"exit_code": 3}


EXEC_CAT = bytes([OPERATIONS["exec"]]) + encode(argv=["sleep", "1000"], flags=1)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([(HELLO, 0, VERSIONS)], id="HELLO again"),
        pytest.param([(0, 1, b"")], id="type 0"),
        pytest.param([(99, 1, b"")], id="type 99"),
        pytest.param([(REPLY, 1, b"")], id="REPLY"),
        pytest.param([(OPEN, 0, EXEC_CAT)], id="OPEN on stream 0"),
        pytest.param([(OPEN, 1, b"")], id="OPEN without operation"),
        pytest.param([(OPEN, 1, EXEC_CAT), (OPEN, 1, EXEC_CAT)], id="OPEN twice"),
        pytest.param([(OPEN, 1, EXEC_CAT[:-1])], id="OPEN cut"),
        pytest.param([(OPEN, 1, EXEC_CAT + b"\x0a")], id="OPEN with a cut field"),
        pytest.param([(OPEN, 1, EXEC_CAT + b"\x0a\xff\xff\xff\xff")], id="OPEN with a field that is too long"),
        pytest.param([(DATA, 0, b"\0x")], id="DATA on stream 0"),
        pytest.param([(DATA, 1, b"\0")], id="DATA without data"),
        pytest.param([(DATA, 1, b"\1x")], id="DATA on channel 1"),
        pytest.param([(OPEN, 1, EXEC_CAT), (DATA, 1, bytes(WINDOW + 2))], id="DATA beyond the window"),
        pytest.param(
            [(OPEN, 1, EXEC_CAT), (DATA, 1, bytes(WINDOW + 1)), (DATA, 1, bytes(WINDOW // 2))],
            id="DATA beyond it in two",
        ),
        pytest.param([(OPEN, 1, EXEC_CAT), (EOF, 1, b"\0"), (DATA, 1, b"\0x")], id="DATA after EOF"),
        pytest.param([(EOF, 1, b"")], id="EOF without channel"),
        pytest.param([(EOF, 1, b"\2")], id="EOF on channel 2"),
        pytest.param([(CREDIT, 1, b"\0\0\0\0\1")], id="CREDIT on channel 0"),
        pytest.param([(CREDIT, 1, b"\1\0\0\1")], id="CREDIT cut"),
        pytest.param([(SIGNAL, 1, b"\0\0\0\0")], id="SIGNAL 0"),
        pytest.param([(SIGNAL, 1, b"\0\0\0\x41")], id="SIGNAL 65"),
        pytest.param([(SIGNAL, 1, b"\1")], id="SIGNAL cut"),
        pytest.param([(RESIZE, 1, b"\0\1\0")], id="RESIZE cut"),
        pytest.param([(CANCEL, 1, b"\0")], id="CANCEL with a byte"),
        pytest.param([(PING, 1, b"")], id="PING on stream 1"),
        pytest.param([(PING, 0, bytes(65))], id="PING too long"),
    ],
)
def test_malformed(agent: Agent, frames: list[tuple[int, int, bytes]]) -> None:
    """What no host sends gets ERROR on stream 0 and the end of the connection."""
    agent.wire.sock.sendall(b"".join(frame(*each) for each in frames))
    assert agent.wire.refusal()["errno"] == errno.EPROTO
    assert agent.process.wait(5) == 0


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(PING, 0, b""), id="not HELLO"),
        pytest.param(frame(HELLO, 1, VERSIONS), id="HELLO on stream 1"),
        pytest.param(frame(HELLO, 0, b""), id="HELLO without versions"),
        pytest.param(frame(HELLO, 0, VERSIONS[:-1]), id="HELLO cut"),
        pytest.param(frame(HELLO, 0, VERSIONS + encode(path="x")), id="HELLO with another field"),
        pytest.param(frame(HELLO, 0, VERSIONS + encode(version_min=1)), id="HELLO with a field twice"),
        pytest.param(struct.pack(">IIB", MAX_REQUEST + 1, 0, HELLO), id="too long"),
        pytest.param(struct.pack(">IIB", 0xFFFFFFFF, 0, HELLO), id="far too long"),
    ],
)
def test_malformed_hello(start: Callable[..., Agent], data: bytes) -> None:
    """The same before the first exchange."""
    agent = start(greet=False)
    agent.wire.sock.sendall(data)
    assert agent.wire.refusal()["errno"] == errno.EPROTO
    assert agent.process.wait(5) == 0


def test_longest_request(agent: Agent) -> None:
    """A request of 8 MiB is taken."""
    request = bytes([OPERATIONS["exec"]]) + encode(argv=["true"])
    filler = MAX_REQUEST - len(request) - 5
    wire = agent.wire
    stream = wire.streams[1] = wire.open("stat", path="/")
    stream.wait()
    wire.send(OPEN, 2, request + struct.pack(">BI", 9, filler) + b"A=" + b"x" * (filler - 2))
    got = wire.receive()
    assert (got.type, got.stream, decode(got.payload)["errno"]) == (ERROR, 2, errno.E2BIG)


# --- records ---


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        pytest.param(b"\1", errno.EPROTO, id="no argv"),
        pytest.param(b"\1" + encode(argv=["true"], path="x"), errno.EPROTO, id="a field of another operation"),
        pytest.param(b"\1" + encode(argv=["true"]) + struct.pack(">BI", 63, 0), errno.EPROTO, id="a field of none"),
        pytest.param(b"\1" + encode(argv=["true"]) + struct.pack(">BI", 200, 0), errno.EPROTO, id="a tag over 63"),
        pytest.param(b"\1" + encode(argv=["true"], cwd=["/", "/"]), errno.EPROTO, id="a field twice"),
        pytest.param(b"\1" + encode(argv=["true"]) + struct.pack(">BII", 12, 4, 1), errno.EPROTO, id="a short number"),
        pytest.param(b"\1" + encode(argv=["true"], timeout=-1), errno.EINVAL, id="a negative number"),
        pytest.param(b"\1" + encode(argv=["true"], tty=2), errno.EINVAL, id="a boolean 2"),
        pytest.param(b"\1" + encode(argv=["tr\0ue"]), errno.EINVAL, id="NUL"),
        pytest.param(b"\1" + encode(argv=["true"], flags=64), errno.EINVAL, id="an unknown flag"),
        pytest.param(b"\x0c" + encode(path="/", flags=2), errno.EINVAL, id="a flag of another operation"),
        pytest.param(b"\1" + encode(argv=["true"], timeout=1 << 62), errno.EINVAL, id="a timeout of ages"),
        pytest.param(b"\0" + encode(argv=["true"]), errno.EPROTO, id="operation 0"),
        pytest.param(b"\2" + encode(argv=["true"]), errno.EPROTO, id="operation 2"),
        pytest.param(b"\xff", errno.EPROTO, id="operation 255"),
        pytest.param(b"\x0c", errno.EPROTO, id="no path"),
    ],
)
def test_refused_request(agent: Agent, request_: bytes, number: int) -> None:
    """A request that can't be honoured is refused; the connection goes on."""
    wire = agent.wire
    wire.send(OPEN, 5, request_)
    got = wire.receive()
    assert (got.type, got.stream, decode(got.payload)["errno"]) == (ERROR, 5, number)
    assert wire.sh("exit 3").result == {"exit_code": 3}


def test_too_many_streams(agent: Agent, tmp_path: Path) -> None:
    """There is an end to how much is done at once."""
    wire = agent.wire
    count = 4096
    streams = [wire.open("write", path=f"f{number}") for number in range(count + 1)]
    assert streams[-1].wait()["errno"] in (errno.EAGAIN, errno.EMFILE)
    streams[0].eof()
    assert streams[0].wait() == {"size": 0}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("f")] == ["f0"]


# --- fuzzing ---


def mutate(chooser: random.Random, data: bytes) -> bytes:
    """Change some bytes of a valid conversation."""
    out = bytearray(data)
    for _ in range(chooser.choice([1, 1, 2, 5, 20])):
        place = chooser.randrange(len(out))
        how = chooser.randrange(4)
        if how == 0:
            out[place] = chooser.randrange(256)
        elif how == 1:
            del out[place : place + chooser.choice([1, 4, 9])]
        elif how == 2:
            out[place:place] = chooser.randbytes(chooser.choice([1, 4, 9]))
        else:
            out[place : place + 4] = chooser.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\1\0\0"]
            )
        if not out:
            break
    return bytes(out)


def conversation(chooser: random.Random) -> bytes:
    """A valid one, of harmless operations."""
    out = [frame(HELLO, 0, VERSIONS)]
    requests: list[tuple[str, dict[str, Any]]] = [
        ("exec", {"argv": ["true"], "timeout": 500, "env": ["A=b"], "cwd": "."}),
        ("exec", {"argv": ["cat"], "flags": 1, "timeout": 500, "grace": 0}),
        ("exec", {"argv": ["tty"], "tty": 1, "rows": 3, "columns": 4, "timeout": 500}),
        ("read", {"path": "/etc/passwd", "offset": 1, "limit": 100000, "window": 2048}),
        ("stat", {"path": "x", "root": "."}),
        ("list", {"path": "."}),
        ("write", {"path": "w", "mode": 0o600}),
        ("connect", {"host": "127.0.0.1", "port": 1, "timeout": 100}),
    ]
    for number in range(1, 12):
        name, fields = chooser.choice(requests)
        out.append(frame(OPEN, number, bytes([OPERATIONS[name]]) + encode(**fields)))
        out.append(
            frame(DATA, number, b"\0some data") if "flags" in fields or name == "write" else frame(PING, 0, b"p")
        )
        out.append(
            chooser.choice(
                [
                    frame(EOF, number, b"\0"),
                    frame(CREDIT, number, b"\1\0\1\0\0"),
                    frame(SIGNAL, number, b"\0\0\0\x0f"),
                    frame(RESIZE, number, b"\0\5\0\5"),
                    frame(CANCEL, number, b""),
                ]
            )
        )
    return b"".join(out)


@pytest.mark.parametrize("seed", range(150))
def test_fuzz(start: Callable[..., Agent], tmp_path: Path, seed: int) -> None:
    """Whatever comes, the agent answers in frames that are well-formed, and ends when the host hangs up."""
    chooser = random.Random(seed)  # noqa: S311 - the same each time
    data = chooser.randbytes(300) if seed % 10 == 0 else mutate(chooser, conversation(chooser))
    work = tmp_path / "work"
    work.mkdir()
    agent = start(greet=False)
    wire = agent.wire
    wire.sock.settimeout(0.3)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        size = chooser.choice([1, 7, 100, 10_000])
        for position in range(0, len(data), size):
            wire.sock.sendall(data[position : position + size])
    with contextlib.suppress(TimeoutError, EOFError, ConnectionResetError):
        while True:
            got = wire.receive()
            assert REPLY <= got.type <= PONG or got.type in (2, DATA, EOF, CREDIT)
    assert agent.end() == 0
