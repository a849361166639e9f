"""Mutants whose sandboxes have no network to themselves, or one that is not as it is to be."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import wrap
from samebox.agent.guest import AgentGuest
from samebox.capabilities import Capability
from samebox.conformance.contract import sockets, test_neighbours as neighbours, test_network as network
from samebox.guest.results import ExecResult

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine


@mutant("network/no-network-asked-for-in-words")
def claims_no_network(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """NETWORK_NONE is claimed, and the host's network is there."""
    engine.capabilities |= {Capability.NETWORK_NONE}


@mutant("neighbours/sandboxes-do-not-reach-one-another", "neighbours/sandbox-with-ports-is-not-reached-either")
def claims_a_network_apart(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """NETWORK, NETWORK_APART and PORTS are claimed, and all sandboxes have one network."""
    engine.capabilities |= {Capability.NETWORK, Capability.NETWORK_APART, Capability.PORTS}
    patch.setattr(neighbours, "addresses", lambda box: ["127.0.0.1"])  # whatever addresses this host has


@mutant("neighbours/sandboxes-do-not-reach-one-another")
def lets_datagrams_through(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """NETWORK and NETWORK_APART are claimed, and TCP alone is kept away from other sandboxes."""
    engine.capabilities |= {Capability.NETWORK, Capability.NETWORK_APART}
    patch.setattr(neighbours, "addresses", lambda box: ["127.0.0.1"])
    original = sockets.reached
    tries: list[list[str]] = []

    def reached(*arguments: Any) -> list[str]:
        tries.append(found := original(*arguments))
        return found if len(tries) == 1 else []  # the first is a sandbox's to itself

    patch.setattr(neighbours, "reached", reached)


@mutant(
    "neighbours/abstract-sockets-of-another-sandbox-are-not-there[no-network]",
    "neighbours/abstract-sockets-of-another-sandbox-are-not-there[network]",
    "neighbours/abstract-sockets-of-the-host-are-not-there[no-network]",
    "neighbours/abstract-sockets-of-the-host-are-not-there[network]",
)
def shares_abstract_sockets(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """NETWORK_NONE and NETWORK are claimed, and unix sockets without a file are the host's."""
    engine.capabilities |= {Capability.NETWORK_NONE, Capability.NETWORK}


@mutant("neighbours/low-ports-are-everybodys[no-network]", "neighbours/low-ports-are-everybodys[network]")
def keeps_low_ports_for_root(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """NETWORK_NONE, NETWORK and USER are claimed, and nobody but root may listen on port 80."""
    engine.capabilities |= {Capability.NETWORK_NONE, Capability.NETWORK, Capability.USER}

    async def denied(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        if argv == ["./sockets"]:
            return ExecResult(0, struct.pack("<qq", 3, -13))
        return await original(self, argv, **settings)

    wrap(patch, AgentGuest, "exec", denied)


@mutant("network/name-servers-are-asked")
def asks_other_name_servers(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """DNS and NETWORK are claimed, and `dns` is ignored."""
    engine.capabilities |= {Capability.DNS, Capability.NETWORK}
    # The port is the host's: one that nobody asks for names.
    original = sockets.server_at
    patch.setattr(network, "server_at", lambda box, port: original(box, port + 20000))
