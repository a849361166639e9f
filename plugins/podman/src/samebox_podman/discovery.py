"""Discovery: which Podman service is meant, found in a fixed order."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from samebox.errors import EngineUnavailableError
from samebox_podman.address import Address
from samebox_podman.child import HelperError
from samebox_podman.connections import load_connections
from samebox_podman.failure import INSTALL, nothing_found, start_socket, why
from samebox_podman.options import check_url
from samebox_podman.service import PrivateService, private_service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samebox_podman.options import PodmanOptions

ROOTFUL_SOCKET = "/run/podman/podman.sock"
CONNECT = 10.0
"""How long a socket of this host may take to accept, in seconds; a service that systemd starts on demand needs some."""


def find_service(
    options: PodmanOptions, environ: Mapping[str, str], uid: int, service: PrivateService | None = None
) -> Address:
    """Find the Podman service.

    In this order:

    1. the options `url` and `connection`,
    2. CONTAINER_HOST (with CONTAINER_SSHKEY),
    3. CONTAINER_CONNECTION, a name in podman-connections.json or containers.conf,
    4. the usual socket: of an ordinary user $XDG_RUNTIME_DIR/podman/podman.sock, then
       /run/user/UID/podman/podman.sock; of root /run/podman/podman.sock. The option `rootless` chooses among them,
    5. a private service, if there is a podman program and the option `service` allows it.

    What is named in so many words (1 to 3) is used or fails; only between the usual places is there a search. With the
    option `runtime` the private service comes before the usual socket, as Podman takes a runtime from a request only
    since 6.0: the service is started with it, and has the same images and containers.

    Args:
        options: The engine's options.
        environ: The environment.
        uid: The effective uid.
        service: The private service; default: this process's.

    Returns:
        The address, which for a usual socket has just accepted a connection.

    Raises:
        EngineUnavailableError: What was named can't be an address, or nothing was found; the text lists what was tried.
    """
    named = _named(options, environ)
    if named is not None:
        return named
    service = service or private_service(options.runtime)
    tried: list[str] = []
    if options.runtime is not None and _startable(options, uid, service):
        return _private(options, uid, tried, service)
    for address in usual_sockets(options, environ, uid):
        error = _connects(address)
        if error is None:
            return address
        tried.append(f"{address}: {why(address, error)[0]}")
    return _private(options, uid, tried, service)


def usual_sockets(options: PodmanOptions, environ: Mapping[str, str], uid: int) -> list[Address]:
    """Return the places where a service usually listens, in the order in which they are tried.

    Args:
        options: `rootless` chooses among them.
        environ: The environment.
        uid: The effective uid.
    """
    rootful = Address(f"unix://{ROOTFUL_SOCKET}", "the socket of the system's Podman")
    if uid == 0:
        return [] if options.rootless else [rootful]
    if options.rootless is False:
        return [rootful]
    standard = f"/run/user/{uid}"
    found = []
    if (runtime := environ.get("XDG_RUNTIME_DIR", "").rstrip("/")) and runtime != standard:
        found.append(Address(f"unix://{runtime}/podman/podman.sock", "the user's socket in $XDG_RUNTIME_DIR"))
    found.append(Address(f"unix://{standard}/podman/podman.sock", "the user's socket"))
    return found


def _named(options: PodmanOptions, environ: Mapping[str, str]) -> Address | None:
    identity = str(options.identity) if options.identity else None
    if options.url is not None:
        return Address(options.url, "options.url", identity)
    if options.connection is not None:
        return _connection(options.connection, "options.connection", identity, environ)
    if url := environ.get("CONTAINER_HOST", "").strip():
        return _checked(url, "CONTAINER_HOST", identity or environ.get("CONTAINER_SSHKEY") or None)
    if name := environ.get("CONTAINER_CONNECTION", "").strip():
        return _connection(name, "CONTAINER_CONNECTION", identity, environ)
    return None


def _connection(name: str, source: str, identity: str | None, environ: Mapping[str, str]) -> Address:
    known, wrong = load_connections(environ)
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        unread = f" Could not read {'; '.join(wrong)}." if wrong else ""
        raise EngineUnavailableError(
            f"{source} names the Podman connection {name!r}, which is not there; known: {names}.{unread} "
            "Add it with `podman system connection add`, or correct the name."
        )
    connection = known[name]
    where = f"the connection {name!r} of {connection.file}, named by {source}"
    return _checked(connection.url, where, identity or connection.identity)


def _checked(url: str, source: str, identity: str | None) -> Address:
    try:
        check_url(url)
    except ValueError as error:
        raise EngineUnavailableError(
            f"{source} is no address that the Podman engine can use: {error}. Correct or unset it."
        ) from None
    return Address(url, source, identity)


def _connects(address: Address) -> OSError | None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT)
        try:
            probe.connect(address.socket_path)
        except OSError as error:
            return error
    return None


def _startable(options: PodmanOptions, uid: int, service: PrivateService) -> bool:
    mine = options.rootless is None or options.rootless == (uid != 0)
    return mine and options.service and service.program() is not None


def _private(options: PodmanOptions, uid: int, tried: list[str], service: PrivateService) -> Address:
    if options.rootless is not None and options.rootless == (uid == 0):
        if options.rootless:
            raise nothing_found(
                [*tried, "options.rootless=True: root has no rootless Podman of its own"],
                "Run as an ordinary user, or name that user's service: options.url='unix:///run/user/UID/podman/podman.sock'.",
            )
        raise nothing_found(
            [*tried, "options.rootless=False: an ordinary user can't start a rootful service"],
            "Run as root, or let root start it: `systemctl enable --now podman.socket`.",
        )
    remedy = f"{start_socket()}, or name a service elsewhere with options.url or CONTAINER_HOST."
    if not options.service:
        raise nothing_found([*tried, "a private service: options.service=False forbids it"], remedy)
    if service.program() is None:
        raise nothing_found([*tried, "a private service: there is no podman program in PATH"], f"{INSTALL}.")
    try:
        return service.ensure()
    except HelperError as error:
        raise nothing_found([*tried, f"a private service: {error}"], remedy) from None


def current_uid() -> int:
    """Return the effective uid; a function of its own so that a test can be somebody else."""
    return os.geteuid()
