"""LinkAdapter: HTTP over sockets that are opened here and not by docker-py: to a unix socket, or through ssh."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, Protocol

import requests.adapters
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from requests import PreparedRequest


class Link(Protocol):
    """An open way to the daemon."""

    socket: socket.socket
    """What leads to the daemon; closed by its user."""

    def close(self) -> str:
        """End what stands behind the socket, and return its last words if it has failed, else ""."""


class UnixLink:
    """A connection to a unix socket.

    docker-py's own leaves the socket open when connecting fails, which Python warns of.

    Args:
        path: The socket's path.
        timeout: How long to wait, in seconds.

    Raises:
        OSError: Nothing can be reached there.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.settimeout(timeout)
            self.socket.connect(path)
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> str:
        """Return "": a socket has no words."""
        return ""


class LinkAdapter(requests.adapters.HTTPAdapter):
    """Carries the requests of one client over links.

    Args:
        connect: Opens a link.
    """

    def __init__(self, connect: Callable[[], Link]) -> None:
        self.connect = connect
        self.said = ""
        """The last words of the last link that failed."""
        self._pool = _Pool(self)
        super().__init__()

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the pool of connections, whatever the request's URL says."""
        del request, verify, proxies, cert
        return self._pool

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """Return the request's path; no proxy stands between."""
        del proxies
        return request.path_url

    def close(self) -> None:
        """End the idle connections; new ones are opened when they are needed."""
        super().close()
        self._pool.close()
        self._pool = _Pool(self)


class TlsAdapter(requests.adapters.HTTPAdapter):
    """HTTPS that accepts the authorities that Docker's own command line accepts.

    Python 3.13 refuses one without a key usage, as Docker's guide to protecting the daemon's socket makes it.
    https://docs.docker.com/engine/security/protect-access/
    """

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        """Make the pools of connections, with a TLS context that is not stricter than need be."""
        context = create_urllib3_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        super().init_poolmanager(*arguments, **settings, ssl_context=context)


class _Pool(HTTPConnectionPool):
    def __init__(self, adapter: LinkAdapter) -> None:
        super().__init__("localhost", maxsize=1)
        self._adapter = adapter

    def _new_conn(self) -> Any:
        return _Connection(self._adapter)


class _Connection(HTTPConnection):
    def __init__(self, adapter: LinkAdapter) -> None:
        super().__init__("localhost")
        self._adapter = adapter
        self._link: Link | None = None

    def connect(self) -> None:
        self._adapter.said = ""
        self._link = self._adapter.connect()
        self.sock = self._link.socket

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._adapter.said = link.close()
        super().close()
