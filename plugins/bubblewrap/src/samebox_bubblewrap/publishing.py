"""Publishing: TCP ports of a sandbox on the host, by slirp4netns's socket (slirp4netns(1), "API SOCKET")."""

from __future__ import annotations

import json
import socket
from typing import Any

from samebox.config.ports import HostPort
from samebox.errors import EngineError

__all__ = ["publish"]

_LIMIT = 10.0
_TRIES = 20
_MOST = 65536


def publish(api: str, port: str, where: HostPort) -> HostPort:
    """Publish one port.

    Args:
        api: The path of slirp4netns's socket.
        port: The sandbox's, as "8080/tcp".
        where: The host's; any free one if it has no port.

    Returns:
        The host's.

    Raises:
        EngineError: It can't be published, as a port that is taken; the text has slirp4netns's words.
    """
    number = int(port.partition("/")[0])
    for last in [False] * (_TRIES - 1) + [True]:
        chosen = where.port or _free(where.address)
        arguments = {"proto": "tcp", "host_addr": where.address, "host_port": chosen, "guest_port": number}
        answer = _ask(api, {"execute": "add_hostfwd", "arguments": arguments})
        if "return" in answer:
            return HostPort(address=where.address, port=chosen)
        # One that was free a moment ago may be taken by now.
        if where.port is not None or last:
            words = (answer.get("error") or {}).get("desc") or answer
            raise EngineError(
                f"port {port} can't be published at {where.address}:{chosen}: slirp4netns says {words!r}. "
                "Is the port taken, or one below 1024?"
            )
    raise AssertionError


def _free(address: str) -> int:
    try:
        with socket.socket(socket.AF_INET) as probe:
            probe.bind((address, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise EngineError(f"no port can be published at {address}: {error.strerror}") from error


def _ask(api: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_LIMIT)
            connection.connect(api)
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            text = b""
            while len(text) < _MOST and (data := connection.recv(4096)):
                text += data
        answer = json.loads(text)
    except (OSError, ValueError) as error:
        raise EngineError(f"slirp4netns does not publish ports: {error}") from error
    return answer if isinstance(answer, dict) else {}
