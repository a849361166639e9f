"""CONNECT: TCP connections from inside."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wire import Wire


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets until its end, then "bye"."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                connection, _ = server.accept()
                with connection:
                    while data := connection.recv(65536):
                        connection.sendall(data)
                    connection.sendall(b"bye")
        except OSError:
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_echo(wire: Wire, echo: int, host: str) -> None:
    """Bytes go both ways, and each side can end its own."""
    data = os.urandom(2 << 20)
    stream = wire.open("connect", host=host, port=echo, timeout=5000)
    while stream.reply is None:
        wire.pump()
    stream.feed(data)
    assert stream.wait() == {}
    assert stream.stdout == data + b"bye"
    assert stream.ended == {1}


def test_end_before_it_is_connected(wire: Wire, echo: int) -> None:
    """Input may end before there is any."""
    stream = wire.open("connect", host="127.0.0.1", port=echo)
    stream.eof()
    assert stream.wait() == {}
    assert stream.stdout == b"bye"


def test_ipv6(wire: Wire) -> None:
    """`localhost` is IPv6 too."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
    with server:
        for host in ("::1", "localhost"):
            stream = wire.open("connect", host=host, port=server.getsockname()[1])
            while stream.reply is None:
                wire.pump()
            connection, _ = server.accept()
            connection.sendall(b"six")
            connection.close()
            while 1 not in stream.ended:
                wire.pump()
            assert stream.result is None
            stream.eof()
            assert stream.wait() == {}
            assert stream.stdout == b"six"


def test_refused(wire: Wire) -> None:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        stream = wire.open("connect", host=host, port=port)
        assert stream.wait()["errno"] == errno.ECONNREFUSED
        assert stream.failed


@pytest.mark.parametrize(("host", "port"), [("example.org", 80), ("", 80), ("127.0.0.1", 0), ("127.0.0.1", 65536)])
def test_invalid(wire: Wire, host: str, port: int) -> None:
    """No name is looked up."""
    stream = wire.open("connect", host=host, port=port)
    assert stream.wait()["errno"] == errno.EINVAL
    assert stream.failed


@pytest.fixture
def full() -> Iterator[int]:
    """A server that takes no more connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.settimeout(0)
            client.connect_ex(server.getsockname())
            waiting.append(client)
        yield server.getsockname()[1]
        for client in waiting:
            client.close()


def test_timeout(wire: Wire, full: int) -> None:
    """A connection that does not come about."""
    stream = wire.open("connect", host="127.0.0.1", port=full, timeout=200)
    assert stream.wait()["errno"] == errno.ETIMEDOUT


def test_cancel(wire: Wire, full: int, echo: int) -> None:
    """CANCEL ends it, before it is connected and after."""
    stream = wire.open("connect", host="127.0.0.1", port=full)
    stream.cancel()
    assert stream.wait()["errno"] == errno.ECANCELED
    stream = wire.open("connect", host="127.0.0.1", port=echo)
    while stream.reply is None:
        wire.pump()
    stream.cancel()
    assert stream.wait()["errno"] == errno.ECANCELED


def test_reset(wire: Wire) -> None:
    """A connection that the other side resets is an error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = wire.open("connect", host="127.0.0.1", port=server.getsockname()[1])
        connection, _ = server.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        while stream.reply is None:
            wire.pump()
        connection.close()
        assert stream.wait()["errno"] == errno.ECONNRESET
        assert stream.failed
