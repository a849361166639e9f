"""Caller: the real agent, called with one file operation at a time, as any user, with and without openat2."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import platform
import socket
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.agent import frames
from samebox.agent.frames import CHUNK, STDIN, STDOUT, HostSide, frame
from samebox.agent.records import ItemDecoder, Record, encode_path, encode_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox.agent.records import Field

USER = 61234
"""Owns nothing anywhere."""
OPERATIONS = {
    "read": 10, "write": 11, "stat": 12, "list": 13, "make_dir": 14, "remove": 15, "move": 16, "copy": 17, "chmod": 18,
    "realpath": 19, "symlink": 20, "readlink": 21, "walk": 22, "grep": 23, "pack": 24, "unpack": 25,
}  # fmt: skip
APPEND, EXCLUSIVE, NO_PARENTS = 1, 2, 4
"""Flags of WRITE."""
NEW_CALLS = [437, 439, 452, *((316, 326) if platform.machine() == "x86_64" else (276, 285))]
"""openat2, faccessat2, fchmodat2, renameat2 and copy_file_range: what old kernels and filters lack."""
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_libc = ctypes.CDLL(None, use_errno=True)


class AgentError(Exception):
    """An operation failed; says what the agent's ERROR said."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.number("errno"), record.text("message"), record.get("path"), record.text("kind"))
        self.errno = record.number("errno")
        self.message = record.text("message")
        self.path = record.get("path", b"")
        self.kind = record.text("kind")
        self.record = record


@dataclasses.dataclass
class Answer:
    """What an operation answered."""

    reply: Record | None = None
    data: bytes = b""
    end: Record = dataclasses.field(default_factory=Record)

    @property
    def items(self) -> list[Record]:
        """The records of a listing."""
        decoder = ItemDecoder()
        items = list(decoder.feed(self.data))
        decoder.finish()
        return items

    @property
    def names(self) -> list[bytes]:
        """The names in a listing."""
        return [item["name"] for item in self.items]


def deny(errno: int, *calls: int) -> None:
    """Make system calls fail with an errno in this process and its children, as old kernels and seccomp filters do."""

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    instructions = [
        (0x20, 0, 0, 0),  # load the system call's number
        *((0x15, len(calls) - i, 0, number) for i, number in enumerate(calls)),  # on to the last line if it is this one
        (0x06, 0, 0, 0x7FFF0000),  # allow
        (0x06, 0, 0, 0x00050000 | errno),  # fail
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    program = Program(len(instructions), code)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or _libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


class Caller:
    """One `agent serve`, called with one operation at a time.

    Args:
        binary: The program.
        workdir: Its workdir.
        uid: Who it runs as; None: as we do.
        prepare: Called in the child before the program is executed, still with our rights.
    """

    def __init__(self, binary: Path, workdir: Path, uid: int | None, prepare: Callable[[], None] | None = None) -> None:
        ours, its = socket.socketpair()
        self.workdir = workdir
        self.uid = os.geteuid() if uid is None else uid

        def begin() -> None:
            if prepare is not None:
                prepare()
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)

        with its:
            command = [str(binary), "serve", str(its.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                preexec_fn=begin,  # noqa: PLW1509 - one thread only
                cwd="/",
                env=self._watched(workdir.parent / "reports"),
            )
        ours.settimeout(50)
        self._socket = ours
        self._side = HostSide()
        ours.sendall(self._side.hello([("workdir", os.fsencode(workdir))]))
        self.welcome = self._events()[0].record
        self._sent: int | None = None

    def _watched(self, reports: Path) -> dict[str, str]:
        """The environment in which sanitizers write their reports where `end` looks for them."""
        reports.mkdir(exist_ok=True)
        reports.chmod(0o777)
        self._reports = reports
        log = f"log_path={reports}/report"
        return {
            "ASAN_OPTIONS": f"{log}:detect_leaks=1",
            "UBSAN_OPTIONS": f"{log}:print_stacktrace=1",
            "LSAN_OPTIONS": log,
        }

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _events(self) -> list[frames.Event]:
        while True:
            data = self._socket.recv(1 << 18)
            assert data, "the agent ended"
            if events := self._side.feed(data):
                return events

    def call(
        self, operation: str, path: bytes | str, given: bytes | None = None, /, **fields: int | bytes | str | list[str]
    ) -> Answer:
        """Do one operation and return its answer.

        Raises:
            AgentError: It failed.
        """
        stream = self.begin(operation, path, **fields)
        answer = Answer()
        pieces: list[bytes] = []
        queue = memoryview(given or b"")
        ended = given is None
        while True:
            while queue and (room := min(CHUNK, self._side.sendable(stream))) > 0:
                self._socket.sendall(self._side.input(stream, queue[:room]))
                queue = queue[room:]
            if not len(queue) and not ended:
                ended = True
                self._socket.sendall(frame(frames.EOF, stream, bytes([STDIN])))
            for event in self._events():
                if event.type == frames.DATA:
                    pieces.append(event.data)
                    self._socket.sendall(self._side.credit(stream, STDOUT, len(event.data)))
                elif event.type == frames.REPLY:
                    answer.reply = event.record
                elif event.type == frames.ERROR:
                    raise AgentError(event.record)
                elif event.type == frames.END:
                    answer.data = b"".join(pieces)
                    answer.end = event.record
                    return answer

    def begin(self, operation: str, path: bytes | str, **fields: int | bytes | str | list[str]) -> int:
        """Open a stream for an operation and return its number."""
        record: list[Field] = [("path", encode_path(path))]
        for name, value in fields.items():
            if isinstance(value, list):
                record += [(name, encode_path(one)) for one in value]
            else:
                record.append((name, value if isinstance(value, int) else encode_path(value)))
        stream, data = self._side.open(OPERATIONS[operation], record)
        self._socket.sendall(data)
        return stream

    def send(self, stream: int, data: bytes) -> None:
        """Send input that is within the window."""
        self._socket.sendall(self._side.input(stream, data))

    def cancel(self, stream: int) -> Record:
        """Cancel an operation and return what it ended with."""
        self._socket.sendall(frame(frames.CANCEL, stream))
        return self._last_record()

    def finish(self, stream: int) -> Record:
        """End an operation's input and return what it ended with."""
        self._socket.sendall(frame(frames.EOF, stream, bytes([STDIN])))
        return self._last_record()

    def _last_record(self) -> Record:
        while True:
            for event in self._events():
                if event.type in (frames.END, frames.ERROR):
                    return event.record

    def attempt(
        self, operation: str, path: bytes | str, given: bytes | None = None, /, **fields: int | bytes | str | list[str]
    ) -> Answer | None:
        """Do an operation that may fail: return its answer, or None."""
        try:
            return self.call(operation, path, given, **fields)
        except AgentError:
            return None

    def failure(
        self, operation: str, path: bytes | str, given: bytes | None = None, /, **fields: int | bytes | str | list[str]
    ) -> tuple[int, str, bytes]:
        """Do an operation that has to fail, and return errno, kind and path."""
        if operation in {"write", "unpack"} and given is None:
            given = b"input"
        try:
            answer = self.call(operation, path, given, **fields)
        except AgentError as error:
            return error.errno, error.kind, error.path
        raise AssertionError(f"{operation} {path!r} did not fail: {answer}")

    def read(self, path: bytes | str, **fields: int | bytes | str) -> bytes:
        """Return a file's content."""
        return self.call("read", path, **fields).data

    def write(self, path: bytes | str, data: bytes = b"", **fields: int | bytes | str) -> int:
        """Write a file; returns how much the agent says was written."""
        return self.call("write", path, data, **fields).end.number("size")

    def end(self) -> None:
        """Close the connection and see that the agent ended well (with no report of a sanitizer)."""
        self._socket.close()
        try:
            assert self._process.wait(20) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        assert not list(self._reports.iterdir()), "".join(report.read_text() for report in self._reports.iterdir())


@contextlib.contextmanager
def directory_for(uid: int | None) -> Iterator[Path]:
    """An empty directory of a user, in one that everyone can reach."""
    above = Path(tempfile.mkdtemp(prefix="samebox-files-"))
    try:
        above.chmod(0o755)
        directory = above / "work"
        directory.mkdir()
        if uid is not None:
            os.chown(directory, uid, uid)
        yield directory
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", above], check=False, stderr=subprocess.DEVNULL)  # noqa: S607
        subprocess.run(["rm", "-rf", above], check=True)  # noqa: S607 - also deeper than Python can


def tree_stream(*items: tuple[bytes, str, bytes] | tuple[bytes, str, bytes, int], end: bool = True) -> bytes:
    """Return a tree stream; an item is a name, a type, a content or target, and maybe a mode."""
    out = b""
    for name, kind, data, *mode in items:
        fields: list[Field] = [("name", name), ("file_type", kind), ("mtime", 1_234_567_890_000_000_001)]
        if mode:
            fields.append(("mode", mode[0]))
        if kind == "f":
            fields.append(("size", len(data)))
        if kind == "l":
            fields.append(("target", data))
        record = encode_record(fields)
        out += struct.pack(">I", len(record)) + record + (data if kind == "f" else b"")
    return out + (b"\0\0\0\0" if end else b"")
