"""Session: podman-py's client for one address, put right where that is wrong. Import it late, as podman-py itself."""

from __future__ import annotations

import podman
from podman.api.uds import UDSConnection, UDSConnectionPool, UDSPoolManager, UDSSocket


class _Connection(UDSConnection):
    """podman-py's connection, which leaves its socket open when it can't connect."""

    def connect(self) -> None:
        connection = UDSSocket(self.uds)
        try:
            connection.settimeout(self.timeout)
            connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            connection.close()
            raise
        self.sock = connection


class _ConnectionPool(UDSConnectionPool):
    ConnectionCls = _Connection


def open_session(url: str, timeout: float) -> podman.PodmanClient:
    """Return a client for one thread of one process.

    Args:
        url: A unix or tcp address.
        timeout: Seconds.
    """
    client = podman.PodmanClient(base_url=url, timeout=timeout)
    # Proxies of the environment are for the way out, not for a service that was named.
    client.api.trust_env = False
    manager = getattr(client.api.get_adapter("http://podman"), "poolmanager", None)
    if isinstance(manager, UDSPoolManager):
        manager.pool_classes_by_scheme = {"http": _ConnectionPool}
    return client
