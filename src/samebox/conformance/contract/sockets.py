"""Programs that try sockets from inside a sandbox, and servers there; they need nothing of an image."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import socket
import struct
from typing import TYPE_CHECKING

from samebox.conformance.contract.harness import DEADLINE
from samebox.conformance.contract.system_calls import DATA, Call, program, results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from samebox.guest.process import Process
    from samebox.sandbox.sandbox import Sandbox

PATIENCE = 3
"""How long a server in a sandbox waits for a datagram, in seconds."""
_REPLY_WITHIN = 300_000  # microseconds
_FIRST = 3
"""The descriptor that a program's first call gets."""
_MESSAGE = b"from a neighbour"
_MSG_TRUNC = 0x20


class Data:
    """What lies behind a program's calls: the bytes that their arguments point to."""

    def __init__(self) -> None:
        self.content = b""

    def put(self, piece: bytes) -> int:
        """Add bytes, and return their address."""
        address = DATA + len(self.content)
        self.content += piece + bytes(-len(piece) % 8)
        return address


def _socket(family: int, kind: int) -> Call:
    return Call(41, 198, (family, kind, 0))


def _timeout(data: Data, fd: int, option: int, seconds: int, microseconds: int = 0) -> Call:
    return Call(54, 208, (fd, socket.SOL_SOCKET, option, data.put(struct.pack("qq", seconds, microseconds)), 16))


def _bind(data: Data, fd: int, address: bytes) -> Call:
    return Call(49, 200, (fd, data.put(address), len(address)))


def _connect(data: Data, fd: int, address: bytes) -> Call:
    return Call(42, 203, (fd, data.put(address), len(address)))


def _listen(fd: int) -> Call:
    return Call(50, 201, (fd, 8))


def _pause(data: Data, seconds: int) -> Call:
    return Call(35, 101, (data.put(struct.pack("qq", seconds, 0)), 0))


def inet(address: str, port: int, scope: int = 0) -> bytes:
    """Return a socket's address as the kernel has it.

    Args:
        address: An IPv4 or IPv6 address.
        port: The port.
        scope: The interface of an address that is one link's alone.
    """
    found = ipaddress.ip_address(address)
    if found.version == 4:
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + found.packed + bytes(8)
    head = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0)
    return head + found.packed + struct.pack("=I", scope)


def abstract(name: str) -> bytes:
    """Return the address of an abstract unix socket as the kernel has it."""
    return struct.pack("=H", socket.AF_UNIX) + b"\0" + name.encode()


def _write(box: Sandbox, calls: Sequence[Call], data: Data) -> str:
    machine = box.exec(["uname", "-m"], timeout=DEADLINE).text.strip()
    path = "./sockets"
    box.remove(path, missing_ok=True)
    box.write_bytes(path, program(calls, machine, data.content), mode=0o755)
    return path


def bound(box: Sandbox, port: int) -> int:
    """Return what the kernel answers to a TCP socket that is bound to a port of all addresses; 0 or -errno."""
    data = Data()
    path = _write(box, [_socket(socket.AF_INET, socket.SOCK_STREAM), _bind(data, _FIRST, inet("0.0.0.0", port))], data)  # noqa: S104 - inside
    return results(box.exec([path], timeout=DEADLINE).check().stdout)[1]


def connected(box: Sandbox, name: str) -> int:
    """Return what the kernel answers to a connection to an abstract unix socket; 0 or -errno."""
    data = Data()
    calls = [_socket(socket.AF_UNIX, socket.SOCK_STREAM), _connect(data, _FIRST, abstract(name))]
    return results(box.exec([_write(box, calls, data)], timeout=DEADLINE).check().stdout)[1]


@contextlib.contextmanager
def abstract_server(box: Sandbox, name: str) -> Iterator[None]:
    """Have an abstract unix socket listen inside a sandbox."""
    data = Data()
    calls = [
        _socket(socket.AF_UNIX, socket.SOCK_STREAM),
        _bind(data, _FIRST, abstract(name)),
        _listen(_FIRST),
        _pause(data, 60),
    ]
    with box.spawn([_write(box, calls, data)], stdin=False, timeout=60) as process:
        assert _read(process, 3) == [_FIRST, 0, 0]
        yield
        process.kill()


def addresses(box: Sandbox) -> list[str]:
    """Return the addresses that a sandbox has beside those of its loopback."""
    text = box.sh("cat /proc/net/fib_trie 2>/dev/null || true", timeout=DEADLINE).text
    lines = [line.split() for line in text.splitlines()]
    local = {above[-1] for above, line in itertools.pairwise(lines) if line[:3] == ["/32", "host", "LOCAL"]}
    found = {address for address in local if not address.startswith("127.")}
    for line in _interfaces6(box):
        if line[5] != "lo":
            found.add(str(ipaddress.IPv6Address(bytes.fromhex(line[0]))))
    return sorted(found)


def _interfaces6(box: Sandbox) -> list[list[str]]:
    text = box.sh("cat /proc/net/if_inet6 2>/dev/null || true", timeout=DEADLINE).text
    return [line.split() for line in text.splitlines()]


class Server:
    """A TCP and a UDP socket at all addresses of a sandbox."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def datagram(self) -> bool:
        """Return whether a datagram has come; waits for it as long as the server does."""
        (length,) = _read(self._process, 1)
        assert length > 0 or length == -errno.EAGAIN, length
        return length > 0


@contextlib.contextmanager
def server_at(box: Sandbox, port: int) -> Iterator[Server]:
    """Have a TCP and a UDP socket listen at all addresses of a sandbox."""
    data = Data()
    both = _interfaces6(box) != []
    family, address = (socket.AF_INET6, inet("::", port)) if both else (socket.AF_INET, inet("0.0.0.0", port))  # noqa: S104
    datagrams, stream = _FIRST, _FIRST + 1
    calls = [
        _socket(family, socket.SOCK_DGRAM),
        _timeout(data, datagrams, socket.SO_RCVTIMEO, PATIENCE),
        _bind(data, datagrams, address),
        _socket(family, socket.SOCK_STREAM),
        _bind(data, stream, address),
        _listen(stream),
        Call(45, 207, (datagrams, 0, 0, _MSG_TRUNC, 0, 0)),
        _pause(data, 60),
    ]
    with box.spawn([_write(box, calls, data)], stdin=False, timeout=60) as process:
        assert _read(process, 6) == [datagrams, 0, 0, stream, 0, 0]
        yield Server(process)
        process.kill()


def reached(box: Sandbox, places: Sequence[str], port: int) -> list[str]:
    """Send a datagram to a port of each address, and return the addresses to which TCP connects."""
    data = Data()
    links = {int(line[1], 16) for line in _interfaces6(box) if line[5] != "lo"} or {0}
    pairs = [
        (place, inet(place, port, scope))
        for place in places
        for scope in (links if ipaddress.ip_address(place).is_link_local else {0})
    ]
    message = data.put(_MESSAGE)
    datagrams: list[Call] = []
    streams: list[Call] = []
    for number, (_, target) in enumerate(pairs):
        family, where = struct.unpack("=H", target[:2])[0], data.put(target)
        datagrams.append(_socket(family, socket.SOCK_DGRAM))
        datagrams.append(Call(44, 206, (_FIRST + number, message, len(_MESSAGE), 0, where, len(target))))
        stream = _FIRST + len(pairs) + number
        streams.append(_socket(family, socket.SOCK_STREAM))
        streams.append(_timeout(data, stream, socket.SO_SNDTIMEO, 0, _REPLY_WITHIN))
        streams.append(Call(42, 203, (stream, where, len(target))))
    calls = [*datagrams, *streams]
    # Another path than the server's, which runs.
    machine = box.exec(["uname", "-m"], timeout=DEADLINE).text.strip()
    box.remove("./client", missing_ok=True)
    box.write_bytes("./client", program(calls, machine, data.content), mode=0o755)
    found = results(box.exec(["./client"], timeout=DEADLINE).check().stdout)
    assert len(found) == len(calls), found
    answers = found[len(datagrams) + 2 :: 3]
    return [place for (place, _), answer in zip(pairs, answers, strict=True) if answer == 0]


def _read(process: Process, count: int) -> list[int]:
    text = b""
    while len(text) < 8 * count and (piece := process.stdout.read(8 * count - len(text))):
        text += piece
    assert len(text) == 8 * count, f"a program that tries sockets has ended: {text!r}"
    return results(text)
