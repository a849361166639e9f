"""What a sandbox reaches of other sandboxes, and by sockets that have no file."""

from __future__ import annotations

import errno
import secrets
import socket
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import ORDINARY_USER, enforced, requires, verifies
from samebox.conformance.contract.sockets import (
    abstract,
    abstract_server,
    addresses,
    bound,
    connected,
    reached,
    server_at,
)

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.sandbox.sandbox import Sandbox

_HERS, _HIS = 20901, 20902
networks = pytest.mark.parametrize(
    "network",
    [
        pytest.param(False, id="no-network", marks=requires(Capability.NETWORK_NONE)),
        pytest.param(True, id="network", marks=requires(Capability.NETWORK)),
    ],
)


def _apart(first: Sandbox, second: Sandbox) -> None:
    """Assert that neither of two sandboxes reaches what listens at all addresses of the other."""
    hers, his = addresses(first), addresses(second)
    assert hers, "the sandbox has no address"
    assert his, "the sandbox has no address"
    with server_at(first, _HERS) as server:
        assert reached(first, hers[:1], _HERS) == hers[:1], "what listens inside is not reached from inside"
        assert server.datagram(), "what listens inside gets no datagram from inside"
    with server_at(first, _HERS) as her_server, server_at(second, _HIS) as his_server:
        tcp = {"first": reached(first, his, _HIS), "second": reached(second, hers, _HERS)}
        assert tcp == {"first": [], "second": []}, f"TCP reaches the other sandbox: {tcp}"
        assert not her_server.datagram(), "a datagram of the second sandbox reaches the first"
        assert not his_server.datagram(), "a datagram of the first sandbox reaches the second"


@requires(Capability.NETWORK, Capability.NETWORK_APART)
@verifies("network")
def test_sandboxes_do_not_reach_one_another(new_box: NewBox) -> None:
    """With `network=True` nothing that listens in a sandbox is reached from another one, by TCP or UDP.

    Why: on an engine's default bridge every container reaches every other, and a development server or a database in a
    sandbox trusts whoever can connect.
    Check: a server at all addresses, IPv6 and those of one link among them; both directions; and from the sandbox
    itself, which does reach it.
    """
    first, second = new_box(network=True), new_box(network=True)
    enforced(first, Capability.NETWORK_APART)
    _apart(first, second)


@requires(Capability.NETWORK, Capability.NETWORK_APART, Capability.PORTS)
@verifies("network", "ports")
def test_sandbox_with_ports_is_not_reached_either(new_box: NewBox) -> None:
    """A sandbox that publishes a port is reached there and nowhere else: not at its own addresses.

    Why: engines open a way for published ports, which may be one for everybody.
    Check: a server at all addresses, on another port and on the published one.
    """
    first, second = new_box(network=True, ports={_HERS: None}), new_box(network=True)
    enforced(first, Capability.NETWORK_APART)
    _apart(first, second)


@verifies("network")
@networks
def test_abstract_sockets_of_another_sandbox_are_not_there(new_box: NewBox, *, network: bool) -> None:
    """An abstract unix socket that listens in a sandbox is not there in another one.

    Why: it has no file, so that no mount keeps it away: it belongs to the network namespace.
    Check: a connection to its name; and from the sandbox itself, which does reach it.
    """
    first, second = new_box(network=network), new_box(network=network)
    name = f"samebox-{secrets.token_hex(8)}"
    with abstract_server(first, name):
        assert connected(second, name) == -errno.ECONNREFUSED
    other = f"samebox-{secrets.token_hex(8)}"
    with abstract_server(second, other):
        assert connected(first, other) == -errno.ECONNREFUSED


@verifies("network")
@networks
def test_abstract_sockets_of_the_host_are_not_there(new_box: NewBox, *, network: bool) -> None:
    """An abstract unix socket that listens on this host is not there in a sandbox.

    Why: D-Bus, X and containerd's shims listen on such, and what answers there acts on the host.
    Check: a connection to its name; and from the host itself, which does reach it.
    """
    box = new_box(network=network)
    name = f"samebox-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(abstract(name)[2:])
        server.listen()
        assert connected(box, name) == -errno.ECONNREFUSED
        client.connect(abstract(name)[2:])


@requires(Capability.USER)
@verifies("network")
@networks
def test_low_ports_are_everybodys(new_box: NewBox, *, network: bool) -> None:
    """A user who is not root may listen on the ports below 1024, which in a network of one's own are nobody else's.

    Why: servers listen on 80 and 443, and engines differ in who may.
    Check: bind(2) of port 80, as an ordinary user.
    """
    assert bound(new_box(network=network, user=ORDINARY_USER), 80) == 0
