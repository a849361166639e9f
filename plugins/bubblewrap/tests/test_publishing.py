"""Published ports: where they are on the host, and what can't be published."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.errors import ConfigError, EngineError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox
    from samebox_bubblewrap.engine import BubblewrapEngine

TCP = "import socket; s = socket.create_server(('0.0.0.0', 8080))\nwhile True: s.accept()[0].sendall(b'inside')"


@pytest.fixture(autouse=True)
def _published(engine: BubblewrapEngine) -> None:
    if reason := engine.probe().missing.get(Capability.PORTS):
        pytest.skip(reason)


def ask(port: int) -> bytes:
    """Return what answers at a port of the host's loopback, once something does."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.settimeout(2)
            if data := connection.recv(99):
                return data
        time.sleep(0.05)
    return b""


def test_any_free_ports(make_box: Callable[..., Sandbox]) -> None:
    """Ports that were not chosen are reached on loopback, and nothing is left of what published them."""
    before = set(os.listdir(tempfile.gettempdir()))
    box = make_box(ports={8080: None, 8081: None}, network=True)
    with box.spawn(["python3", "-c", TCP]):
        assert ask(box.host_port(8080)) == b"inside"
    ports = {box.host_port(8080), box.host_port(8081)}
    left = set(os.listdir(tempfile.gettempdir())) - before
    assert not {name for name in left if name.startswith("samebox-ports")}
    assert ports <= listening().keys()
    box.close()
    assert not ports & listening().keys()


def test_port_that_was_asked_for_is_on_loopback_alone(make_box: Callable[..., Sandbox]) -> None:
    """A fixed port is taken, and on no other address than loopback unless one is named."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    box = make_box(ports={8080: port}, network=True)
    assert box.host_port(8080) == port
    assert listening()[port] == {"127.0.0.1"}


def test_port_that_is_taken(make_box: Callable[..., Sandbox], engine: BubblewrapEngine) -> None:
    """A port that is taken is an error with its number, and no sandbox is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port 8080/tcp can't be published at 127.0.0.1:{port}: slirp4netns"):
            make_box(ports={8080: port}, network=True).start()
    assert engine.list() == []


@pytest.mark.parametrize("network", [False, "none", "host"])
def test_no_network_to_publish_from(make_box: Callable[..., Sandbox], network: Any) -> None:
    """Without a network of the sandbox's own it is told what to do instead."""
    with pytest.raises(ConfigError, match=r"nothing is published with network=.*use forward"):
        make_box(ports={8080: None}, network=network).start()


def test_addresses_that_can_not_be_had(make_box: Callable[..., Sandbox]) -> None:
    """UDP, IPv6, and an address of another host, are errors that name it."""
    with pytest.raises(UnsupportedError, match=r"ports\['53/udp'\]: .*UDP"):
        make_box(ports={"53/udp": None}, network=True).start()
    with pytest.raises(UnsupportedError, match=r"asks for ::1, .*IPv4") as caught:
        make_box(ports={8080: "[::1]:8080"}, network=True).start()
    assert caught.value.capability is Capability.PORTS
    with pytest.raises(EngineError, match=r"no port can be published at 192\.0\.2\.1"):
        make_box(ports={8080: "192.0.2.1:"}, network=True).start()


def listening() -> dict[int, set[str]]:
    """Return the ports of this host that something listens at, with the addresses."""
    found: dict[int, set[str]] = {}
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            address, port = fields[1].split(":")
            shown = socket.inet_ntoa(bytes.fromhex(address)[::-1])
            found.setdefault(int(port, 16), set()).add(shown)
    return found
