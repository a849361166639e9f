"""PodmanClient: calls to one Podman service through podman-py's HTTP session, with every answer checked."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from samebox.engine.oci.answers import check_answer
from samebox.engine.oci.unreachable import causes
from samebox.errors import EngineUnavailableError
from samebox_podman.answers import ANSWERS
from samebox_podman.child import HelperError
from samebox_podman.failure import refused, unavailable, unreachable
from samebox_podman.service import SOURCE, private_service
from samebox_podman.tunnel import tunnel_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import podman
    from podman.api.client import APIResponse

    from samebox_podman.address import Address

CONNECT = 10.0
"""How long a connection may take, in seconds."""
_WORDS = 64 << 10


class PodmanClient:
    """Calls one service. May be used by several threads at once and after a fork.

    podman-py's managers drop or bend many settings (`nano_cpus`, `security_opt`, ...) and its `put_archive` never
    raises, so only its HTTP session is used, one for each thread and process: requests' sessions are not made to be
    shared.

    Args:
        address: The service.
        timeout: How long to wait for one answer, in seconds.
        runtime: The OCI runtime of a private service.
    """

    def __init__(self, address: Address, timeout: float, runtime: str | None = None) -> None:
        self.address = address
        self._runtime = runtime
        self._timeout = timeout
        self._local = threading.local()
        self._clients: weakref.WeakSet[podman.PodmanClient] = weakref.WeakSet()

    @property
    def engine(self) -> str:
        """Which engine and where, for errors."""
        return f"Podman at {self.address.url}"

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        data: bytes | Iterable[bytes] | None = None,
        stream: bool = False,
        timeout: float | None = None,
        accept: tuple[int, ...] = (),
        compatible: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> APIResponse:
        """Make one call of Podman's own (libpod) API.

        Args:
            method: As "get".
            path: Below `/libpod`.
            params: The query.
            body: Sent as JSON.
            data: Sent as a tar stream instead.
            stream: Whether to leave the answer's body to the caller, who closes it.
            timeout: How long to wait for the answer, in seconds; None: the options'.
            accept: Further statuses that are no error.
            compatible: Whether the path is one of the API that is Docker's instead.
            headers: Further headers.

        Returns:
            The answer.

        Raises:
            EngineUnavailableError: The service can't be reached, or did not answer in time.
            RefusedError: It answered with an error.
        """
        kind = {}
        content: Any = data
        if body is not None:
            content, kind = json.dumps(body), {"Content-Type": "application/json"}
        elif data is not None:
            kind = {"Content-Type": "application/x-tar"}
        arguments: dict[str, Any] = {"params": params, "headers": {**kind, **(headers or {})}, "stream": stream}
        if compatible:
            arguments["compatible"] = True
        if method in {"post", "put"}:
            arguments["data"] = content
        arguments["timeout"] = (CONNECT, timeout or self._timeout)
        try:
            response = self._send(method, path, arguments)
            if response.status_code < 400 or response.status_code in accept:
                return response
            with contextlib.closing(response):
                words = error_words(response.content[:_WORDS])
        except EngineUnavailableError:
            raise
        except OSError as error:  # podman-py's APIError and every error of requests are one
            raise self.unreachable(error) from error
        raise refused(self.address, response.status_code, words)

    def json(
        self, path: str, params: Mapping[str, Any] | None = None, *, method: str = "get", body: object = None
    ) -> Any:
        """Return the decoded answer of a call; see `call`."""
        return self.decoded(self.call(method, path, params=params, body=body))

    def decoded(self, response: APIResponse) -> Any:
        """Return what an answer says in JSON.

        Raises:
            EngineUnavailableError: It is no JSON, as from a proxy or another program.
            EngineError: It is of another form than Podman's; see `samebox_podman.answers`.
        """
        try:
            answer = response.json()
        except ValueError:
            found = f"what answers there is no Podman, it said {response.text[:200]!r}"
            remedy = f"Correct {self.address.source}, or look at what stands between."
            raise unavailable(self.address, found, remedy) from None
        request = response.request
        path = unquote(urlsplit(request.url).path).partition("/libpod")[2]
        check_answer(ANSWERS, str(request.method).lower(), path, answer, self.engine)
        return answer

    def _send(self, method: str, path: str, arguments: dict[str, Any]) -> APIResponse:
        response: APIResponse
        try:
            response = getattr(self._client().api, method)(path, **arguments)
        except OSError as error:
            # The private service ends by itself when it is idle. Nothing was sent, so the call can be made again.
            if not self._revived(error):
                raise
            response = getattr(self._client().api, method)(path, **arguments)
        return response

    def _revived(self, error: BaseException) -> bool:
        if self.address.source != SOURCE:
            return False
        if not any(isinstance(cause, FileNotFoundError | ConnectionRefusedError) for cause in causes(error)):
            return False
        try:
            self.address = private_service(self._runtime).ensure()
        except HelperError as failed:
            raise unavailable(
                self.address, f"it has ended and can't be started again: {failed}", "Try anew."
            ) from error
        return True

    def _client(self) -> podman.PodmanClient:
        url = self._url()
        pid = os.getpid()
        known: tuple[int, str, podman.PodmanClient] | None = getattr(self._local, "known", None)
        if known is not None and known[:2] == (pid, url):
            return known[2]
        from samebox_podman.session import open_session  # noqa: PLC0415 - podman-py takes 0.2 s to import

        client = open_session(url, self._timeout)
        self._clients.add(client)
        self._local.known = (pid, url, client)
        return client

    def _url(self) -> str:
        return (tunnel_to(self.address).ensure() if self.address.scheme == "ssh" else self.address).url

    @property
    def path_prefix(self) -> str:
        """What precedes every path of Podman's own API."""
        return str(self._client().api.path_prefix)

    def connect_socket(self) -> socket.socket:
        """Return a new connection to the service, for what HTTP clients can't do.

        Raises:
            EngineUnavailableError: The service can't be reached.
        """
        address = tunnel_to(self.address).ensure() if self.address.scheme == "ssh" else self.address
        try:
            try:
                return _connected(address)
            except OSError as error:
                if not self._revived(error):
                    raise
                return _connected(self.address)
        except OSError as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: BaseException) -> EngineUnavailableError:
        """Return the error for a call that did not reach the service."""
        said = tunnel_to(self.address).said if self.address.scheme == "ssh" else ""
        return unreachable(self.address, error, said)

    def close(self) -> None:
        """Close the connections that no call uses. The client can be used again."""
        for client in list(self._clients):
            client.api.close()
            self._clients.discard(client)
        self._local = threading.local()


def _connected(address: Address) -> socket.socket:
    if address.scheme == "tcp":
        return socket.create_connection(address.endpoint, CONNECT)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(CONNECT)
        connection.connect(address.socket_path)
    except BaseException:
        connection.close()
        raise
    return connection


def error_words(body: bytes) -> str:
    """Return what a service says in the body of an error: Podman's `message`, or the body itself."""
    text = body.decode(errors="replace").strip()
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return text or "no words"
    return str(message)
