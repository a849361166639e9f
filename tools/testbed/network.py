"""ensure_network and remove_network: the bridge, subnets and firewall table that the bed's engines need."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run
from testbed.iptables import remove_own_rules

if TYPE_CHECKING:
    from testbed.layout import Layout
    from testbed.state import State

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

ADDRESSES = Path("/run/containers/networks/ipam.db")
"""The file where all rootful Podmans of a machine note the addresses of their containers."""

NETAVARK = "netavark"
"""The table that netavark makes with nftables, once for all rootful Podmans of a machine, and leaves behind."""

SHARED_CHAINS = {
    *("NETAVARK_FORWARD", "NETAVARK_INPUT", "NETAVARK_ISOLATION_1", "NETAVARK_ISOLATION_2", "NETAVARK_ISOLATION_3"),
    *("NETAVARK-HOSTPORT-DNAT", "NETAVARK-HOSTPORT-MASQ", "NETAVARK-HOSTPORT-SETMARK"),
}
"""The chains that Podman's netavark makes once for all rootful Podmans of a machine, and leaves behind."""


def free_subnet(layout: Layout) -> str:
    """Choose a subnet that no route of this machine touches.

    Args:
        layout: The bed's layout, which says where the search begins.

    Returns:
        A /24, as 10.213.0.0/24.

    Raises:
        TestbedError: There is no free subnet.
    """
    taken = []
    for route in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]"):
        try:
            taken.append(ipaddress.IPv4Network(route["dst"], strict=False))
        except ValueError:
            # The route "default" touches every subnet and so excludes none.
            continue
    candidates = list(ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24))
    for candidate in candidates[layout.first_subnet :] + candidates[: layout.first_subnet]:
        if not any(candidate.overlaps(other) for other in taken):
            return str(candidate)
    remedy = "Free a /24 in it: `ip route` shows who has it."
    raise TestbedError(tried="choose a subnet", found="all of 10.213.0.0/16 is taken", remedy=remedy)


def ensure_network(layout: Layout, state: State) -> None:
    """Make Docker's bridge, and the bridge's way out.

    By default, dockerd writes rules into chains that it shares with another dockerd. The bed's table is shared with
    nobody.

    Raises:
        TestbedError: ip or nft fails.
    """
    if "firewall" not in state.get("network", {}):
        forward = FORWARD.read_text(encoding="ascii").strip()
        found = {"firewall": _shared_rules() != [], "netavark": _table_exists("inet", NETAVARK)}
        state.set(network={**found, "addresses": ADDRESSES.exists(), "forward": forward})
    bridge = layout.docker_bridge
    if bridge not in _links():
        subnet = ipaddress.IPv4Network(free_subnet(layout))
        run(["ip", "link", "add", bridge, "type", "bridge"])
        run(["ip", "address", "add", f"{subnet[1]}/{subnet.prefixlen}", "dev", bridge])
        run(["ip", "link", "set", bridge, "up"])
    # Podman switches forwarding on as well when it starts its first container; without forwarding, Docker warns at each
    # container.
    FORWARD.write_text("1", encoding="ascii")
    if _table_exists("ip", layout.firewall_table):
        return
    address = json.loads(run(["ip", "-json", "-4", "address", "show", "dev", bridge]))[0]["addr_info"][0]
    subnet = ipaddress.IPv4Interface(f"{address['local']}/{address['prefixlen']}").network
    table = ["ip", layout.firewall_table]
    run(["nft", "add", "table", *table])
    run(["nft", "add", "chain", *table, "postrouting", "{ type nat hook postrouting priority 100 ; }"])
    run(["nft", "add", "rule", *table, "postrouting", f"ip saddr {subnet} oifname != {bridge} masquerade"])


def remove_network(layout: Layout, state: State) -> None:
    """Undo `ensure_network`, and remove the chains and addresses that Podman left, unless another engine needs them.

    Raises:
        TestbedError: ip or nft fails.
    """
    before = state.get("network", {})
    remove_own_rules(layout)
    for bridge in _links() & {layout.docker_bridge, layout.podman_bridge}:
        run(["ip", "link", "delete", bridge])
    if _table_exists("ip", layout.firewall_table):
        run(["nft", "delete", "table", "ip", layout.firewall_table])
    if before.get("netavark") is False and _table_exists("inet", NETAVARK) and not _networks():
        run(["nft", "delete", "table", "inet", NETAVARK])
    rules = _shared_rules()
    if rules is not None and before.get("firewall") is False:
        for command in rules:
            run(command)
    if rules is not None and before.get("addresses") is False:
        ADDRESSES.unlink(missing_ok=True)
    # A bridge that is left belongs to another engine, which needs forwarding.
    if before.get("forward") == "0" and not _links("type", "bridge"):
        FORWARD.write_text("0", encoding="ascii")
    state.set(network={})


def _links(*selector: str) -> set[str]:
    """Return the names of network interfaces."""
    return {link["ifname"] for link in json.loads(run(["ip", "-json", "link", "show", *selector]) or "[]") if link}


def _table_exists(family: str, name: str) -> bool:
    """Return whether a firewall table is there."""
    tables = [entry.get("table", {}) for entry in json.loads(run(["nft", "--json", "list", "tables"]))["nftables"]]
    return (family, name) in {(table.get("family"), table.get("name")) for table in tables}


def _networks() -> list[str]:
    """Return the chains of networks that some Podman has in netavark's table."""
    entries = json.loads(run(["nft", "--json", "list", "table", "inet", NETAVARK]))["nftables"]
    names = [str(entry.get("chain", {}).get("name", "")) for entry in entries]
    return [name for name in names if name.startswith("nv_")]


def _shared_rules() -> list[list[str]] | None:
    """Look for the chains that netavark leaves.

    Returns:
        The commands that remove them; None if a container of some Podman still needs them.
    """
    rules: list[list[str]] = []
    chains: list[list[str]] = []
    for table in ("filter", "nat"):
        lines = run(["iptables-save", "--table", table]).splitlines()
        # A container's published ports can leave an empty chain to which no rule leads.
        used = {word for line in lines if line.startswith("-A ") for word in line.split()}
        for line in lines:
            name = re.match(r":(NETAVARK\S*)", line)
            if name is not None and name[1] not in SHARED_CHAINS and name[1] in used:
                return None
            if name is not None:
                rules.append(["iptables", "--table", table, "--flush", name[1]])
                chains.append(["iptables", "--table", table, "--delete-chain", name[1]])
            jump = re.match(r"-A ((?!NETAVARK)\S+ .*-j NETAVARK\S*)", line)
            if jump is not None:
                # Only comments are in quotation marks.
                words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', jump[1])]
                rules.append(["iptables", "--table", table, "--delete", *words])
    return rules + chains
