"""AttachedStream, and the streams to agents: over a connection that Podman has upgraded, attached or to an exec."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from samebox.engine.program import SERVE_ARGV
from samebox.engine.streams import MultiplexedStream, SocketStream
from samebox.errors import ProtocolError
from samebox_podman.client import error_words
from samebox_podman.failure import refused, unavailable

if TYPE_CHECKING:
    import socket

    from samebox_podman.client import PodmanClient

DETACH_KEYS = ",".join(["DEL", "ctrl-_"] * 8)
"""Podman looks for "detach keys" in the input of every exec, with a terminal or without, and its default, ctrl-p and
ctrl-q, are two bytes that any data has: met in two reads of a byte each, they would cut the stream. An empty setting
means the default again, so these are sixteen that never come one by one; the first is what neither ends a text nor a
small number, as Podman holds such a byte back until the next one comes.
https://github.com/containers/podman/blob/v5.8.2/libpod/oci_conmon_exec_common.go (attachExecHTTP)"""

_HEAD = 64 << 10
_WORDS = 64 << 10


class AttachedStream(MultiplexedStream):
    """The stream to the agent on the stdin and stdout of a container's first process.

    Podman ends it with the container only, so the first process says on stderr when that agent has ended
    (docs/protocol.md, section 8): whatever comes there is the end.

    Args:
        stream: The connection.
        backlog: Bytes that were read already.
    """

    def __init__(self, stream: SocketStream, backlog: bytes = b"") -> None:
        super().__init__(stream, backlog)
        self._carrier = stream

    def recv(self, size: int) -> bytes:
        """Return the agent's bytes; see `samebox.engine.ByteStream.recv`."""
        try:
            data = super().recv(size)
        except (OSError, ProtocolError):
            if self._stderr:
                return b""
            raise
        if self._stderr:
            # Whoever waits for the descriptor learns of an end that came together with data by this alone.
            self._carrier.shutdown()
        return data


def open_attached(client: PodmanClient, container: str, timeout: float) -> AttachedStream:
    """Attach to the agent on a container's first process, which nobody else may be attached to.

    Args:
        client: The service.
        container: A container that is created and not started.
        timeout: How long to wait for the answer, in seconds; the stream itself has no time limit.

    Raises:
        EngineUnavailableError: The service can't be reached.
        RefusedError: It answered with an error.
    """
    # Here, and not for an exec, an empty setting means no detach keys.
    query = "stream=true&stdin=true&stdout=true&stderr=true&logs=false&detachKeys="
    connection, rest = _upgrade(client, f"containers/{container}/attach?{query}", b"", timeout)
    return AttachedStream(SocketStream(connection), rest)


def exec_request(user: str | None) -> dict[str, Any]:
    """Return the request that creates the exec of an agent.

    Args:
        user: Who it runs as; None: the container's own user.
    """
    request = {
        "Cmd": list(SERVE_ARGV),
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "WorkingDir": "/",
        "DetachKeys": DETACH_KEYS,
    }
    return request if user is None else {**request, "User": user}


def open_exec(client: PodmanClient, exec_id: str, timeout: float) -> MultiplexedStream:
    """Start an exec and return the stream to its stdin and from its stdout.

    Args:
        client: The service.
        exec_id: A created exec.
        timeout: How long to wait for the answer, in seconds; the stream itself has no time limit.

    Raises:
        EngineUnavailableError: The service can't be reached.
        RefusedError: It answered with an error.
    """
    body = json.dumps({"Detach": False, "Tty": False}).encode()
    connection, rest = _upgrade(client, f"exec/{exec_id}/start", body, timeout)
    return MultiplexedStream(SocketStream(connection), rest)


def _upgrade(client: PodmanClient, path: str, body: bytes, timeout: float) -> tuple[socket.socket, bytes]:
    """Make a call that turns its connection into a stream.

    podman-py 5.8 can't attach to a stdin, and taking the socket out of the depths of requests, urllib3 and http.client
    depends on private names in each; so the upgrade is spoken over a connection of its own.

    Returns:
        The connection, and what came with the answer's head.
    """
    request = (
        f"POST {client.path_prefix}{path} HTTP/1.1\r\nHost: podman\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = client.connect_socket()
    with contextlib.ExitStack() as failed:
        failed.callback(connection.close)
        connection.settimeout(timeout)
        try:
            connection.sendall(request.encode() + body)
            status, head, rest = _read_head(client, connection)
            if status not in {101, 200}:
                rest = _read_rest(connection, head, rest)
        except OSError as error:
            raise client.unreachable(error) from error
        if status not in {101, 200}:
            raise refused(client.address, status, error_words(rest))
        failed.pop_all()
    return connection, rest


def _read_head(client: PodmanClient, connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) > _HEAD:
            raise unavailable(client.address, "its answer has no end of its head", f"Correct {client.address.source}.")
        part = connection.recv(4096)
        if not part:
            raise ConnectionResetError("the connection ended before the answer")
        data += part
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        found = f"what answered is no Podman service: {first[:200]!r}"
        raise unavailable(client.address, found, f"Correct {client.address.source}.")
    head = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(words[1]), head, bytes(data[end + 4 :])


def _read_rest(connection: socket.socket, head: dict[str, str], data: bytes) -> bytes:
    """Read the body of an error, which is a small JSON object, sent whole or in chunks."""
    length = head.get("content-length", "")
    if not length.isdecimal():
        while len(data) < _WORDS and not data.endswith(b"0\r\n\r\n") and (part := connection.recv(4096)):
            data += part
        return data[data.find(b"{") : data.rfind(b"}") + 1] or data
    while len(data) < min(int(length), _WORDS) and (part := connection.recv(4096)):
        data += part
    return data
