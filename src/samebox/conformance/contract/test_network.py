"""The network, seen from inside."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, ORDINARY_USER, enforced, refused, requires, verifies
from samebox.conformance.contract.servers import server
from samebox.conformance.contract.sockets import server_at
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.conformance.contract.conftest import NewBox
    from samebox.sandbox.sandbox import Sandbox

_ONE = "0" * 31 + "1"


def interfaces(box: Sandbox) -> set[str]:
    """Return the names of a sandbox's network interfaces that are more than a kernel's own tunnels."""
    lines = box.exec(["cat", "/proc/net/dev"], timeout=DEADLINE).text.splitlines()[2:]
    names = {line.partition(":")[0].strip() for line in lines}
    # The kernel makes these in every network namespace where the modules are loaded; they lead nowhere.
    return {
        name for name in names if not name.startswith(("tunl", "sit", "ip6tnl", "gre", "erspan", "ip_vti", "ip6_vti"))
    }


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a server on this host's loopback, which answers "host"."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"host\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join(DEADLINE)


@requires(Capability.NETWORK_NONE)
@verifies("network")
def test_no_network_by_default(box: Sandbox) -> None:
    """There is no interface but loopback, and no route.

    Why: what a sandbox can send, it can leak; a default network reaches the cloud's metadata service.
    Check: the network namespace.
    """
    enforced(box, Capability.NETWORK_NONE)
    assert interfaces(box) == {"lo"}
    routes = box.exec(["cat", "/proc/net/route"], timeout=DEADLINE).text.splitlines()[1:]
    assert routes == [], routes


@requires(Capability.NETWORK_NONE)
@verifies("network")
def test_no_network_asked_for_in_words(new_box: NewBox) -> None:
    """`network=False`, said in words, leaves loopback alone.

    Why: `if network:` takes a false value for one that was not given, and the engine's default network is used.
    Check: how the setting is told from a missing one.
    """
    assert interfaces(new_box(network=False)) == {"lo"}


@requires(Capability.NETWORK_NONE)
def test_host_is_out_of_reach(box: Sandbox, listener: int) -> None:
    """A server on the host's loopback is out of reach.

    Why: with the host's network, databases and admin ports that trust localhost are open.
    Check: the network namespace, by a real connection.
    """
    enforced(box, Capability.NETWORK_NONE)
    with pytest.raises(TimeoutError, match=str(listener)):
        box.wait_for_port(listener, 0.5)
    with socket.create_connection(("127.0.0.1", listener), DEADLINE) as check:
        assert check.recv(10) == b"host\n", "the server does not answer on the host itself"


@requires(Capability.NETWORK_NONE)
def test_abstract_sockets_are_out_of_reach(box: Sandbox) -> None:
    """The host's abstract unix sockets are not there.

    Why: they belong to the network namespace: with the host's, D-Bus and X are reachable without any file.
    Check: /proc/net/unix inside.
    """
    enforced(box, Capability.NETWORK_NONE)
    name = f"samebox-conformance-{threading.get_ident()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        assert name not in box.exec(["cat", "/proc/net/unix"], timeout=DEADLINE).text


def test_loopback_works(box: Sandbox) -> None:
    """Loopback is up: a server inside can be reached from inside.

    Why: a fresh network namespace has it down, and every test suite that starts a server fails.
    Check: that the engine or init brings `lo` up.
    """
    with server(box, "hello") as port:
        box.wait_for_port(port, DEADLINE)


@requires(Capability.NETWORK_NONE)
def test_loopback_has_both_addresses(box: Sandbox) -> None:
    """Loopback has ::1 beside 127.0.0.1, on a host that has it.

    Why: `localhost` may be either, and a server that listens on ::1 alone can't start without that.
    Check: what the engine does to IPv6 where there is no network.
    """
    enforced(box, Capability.NETWORK_NONE)
    host = Path("/proc/net/if_inet6")
    expected = host.exists() and _ONE in host.read_text("ascii")
    inside = box.sh("cat /proc/net/if_inet6", timeout=DEADLINE).text
    assert _ONE in inside or not expected, inside


@requires(Capability.DNS, Capability.HOSTNAME)
def test_own_name_is_known(new_box: NewBox) -> None:
    """The sandbox's own name has an address, with the network off too, whether the caller or the engine chose it.

    Why: much looks its own name up as it starts, a Java program or a mail server, and fails or waits for a resolver.
    Check: /etc/hosts inside.
    """
    for hostname in ("conformance-host", None):
        box = new_box(hostname=hostname)
        name = box.read_text("/proc/sys/kernel/hostname").strip()
        lines = [line.partition("#")[0].split() for line in box.read_text("/etc/hosts").splitlines()]
        assert name in {each for line in lines for each in line[1:]}, lines


def test_wait_for_port_gives_up(box: Sandbox) -> None:
    """`wait_for_port` raises TimeoutError, with the port in its text, when nothing listens in time.

    Why: sleeping for a guessed time before the first request is the flakiest line of every test suite.
    Check: the deadline, and that a refused connection is tried again.
    """
    with pytest.raises(TimeoutError, match="1"):
        box.wait_for_port(1, 0.2)


def test_forward_needs_no_network(box: Sandbox) -> None:
    """`forward` makes a port inside reachable on the host's loopback, with the network off.

    Why: publishing a port needs a network, which is what the sandbox is not to have.
    Check: the agent's connection, and both directions of the tunnel.
    """
    with server(box, "from inside") as port, box.forward(port) as forward:
        box.wait_for_port(port, DEADLINE)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", forward.port), DEADLINE) as connection:
                connection.settimeout(DEADLINE)
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                seen = b""
                while data := connection.recv(4096):
                    seen += data
            assert b"from inside" in seen, seen


def test_closed_forward_ends_its_connections(box: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Closing a forward ends the connections through it, idle ones too, and nothing is logged.

    Why: a connection that stays open keeps a client waiting for ever; and asyncio logs a traceback for each one that is
    cancelled (Python 3.12.1).
    Check: which tasks are cancelled at the close, and who made them.
    """
    with server(box, "from inside") as port, box.forward(port) as forward:
        box.wait_for_port(port, DEADLINE)
        connections = [socket.create_connection(("127.0.0.1", forward.port), DEADLINE) for _ in range(3)]
        connections[0].sendall(b"GET")
        time.sleep(0.3)
        forward.close()
        for connection in connections:
            with connection, contextlib.suppress(ConnectionResetError):
                connection.settimeout(DEADLINE)
                assert connection.recv(1) == b""
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_forward_to_nothing_closes(box: Sandbox) -> None:
    """A connection to a forwarded port behind which nothing listens is closed, and the forward goes on.

    Why: a client that is left connected to nothing waits for ever.
    Check: what becomes of the connection when the agent's is refused.
    """
    with box.forward(1) as forward:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", forward.port), DEADLINE) as connection:
                connection.settimeout(DEADLINE)
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(10) == b""


def test_forward_is_on_loopback_only(box: Sandbox) -> None:
    """A forward listens on the host's loopback and on no other address.

    Why: the sandbox's port open to the whole network is a surprise that nobody asked for.
    Check: the address that is bound.
    """
    with box.forward(1) as forward, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only picks this host's own address
        address = probe.getsockname()[0]
        if address != "127.0.0.1":
            with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
                socket.create_connection((address, forward.port), 2).close()


@requires(Capability.NETWORK)
@verifies("network")
def test_default_network_has_an_interface(new_box: NewBox) -> None:
    """`network=True` gives more than loopback.

    Why: a setting that is lost leaves pip install without a way out, and no word why.
    Check: the engine's default network.
    """
    box = new_box(network=True)
    routes = box.exec(["cat", "/proc/net/route"], timeout=DEADLINE).text.splitlines()[1:]
    assert len(interfaces(box)) > 1, interfaces(box)
    assert len(routes) > 0, "there is an interface and no route"


@requires(Capability.NETWORK_NAMED)
@verifies("network")
def test_named_mode_is_taken(new_box: NewBox) -> None:
    """`network="none"`, a mode by its name, is passed on to the engine.

    Why: names are taken for networks to be made, or for truth: any text is true.
    Check: how the text is handed over.
    """
    assert interfaces(new_box(network="none")) == {"lo"}


@requires(Capability.PORTS)
@verifies("ports")
def test_published_port_is_reached(new_box: NewBox) -> None:
    """A port in `ports` is reached on the host where `host_port` says.

    Why: podman-py and docker-py give the mapping in other shapes, and before the port is bound.
    Check: the engine's inspect, and the address that is bound: loopback unless asked otherwise.
    """
    box = new_box(ports={8080: None}, network=True)
    port = box.host_port(8080)
    assert b"published" in _fetched(box, port)


def _fetched(box: Sandbox, port: int) -> bytes:
    """Return what a server at the sandbox's port 8080 answers at a port of the host."""
    seen = b""
    with server(box, "published", 8080):
        box.wait_for_port(8080, DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while b"published" not in seen and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.settimeout(5)
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while data := connection.recv(4096):
                    seen += data
    return seen


@requires(Capability.PORTS)
@verifies("ports")
def test_port_of_the_host_is_the_one_asked_for(new_box: NewBox) -> None:
    """A port of the host that is asked for by its number is the one that is bound.

    Why: with the two numbers in the wrong order it is another port.
    Check: the engine's inspect, and which port is bound.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    box = new_box(ports={8080: port}, network=True)
    assert box.host_port(8080) == port
    assert b"published" in _fetched(box, port)


@requires(Capability.PORTS)
@verifies("ports")
def test_unpublished_port_is_an_error(new_box: NewBox) -> None:
    """`host_port` of a port that was not published raises, with the port in its text.

    Why: None or 0 in its place is a connection to somewhere else.
    Check: what the engine's inspect gives.
    """
    box = new_box(ports={8080: None}, network=True)
    with refused("8081"):
        box.host_port(8081)


@requires(Capability.PORTS, Capability.DNS)
@verifies("ports", "dns")
@pytest.mark.parametrize("setting", ["ports", "dns"])
def test_nothing_is_published_or_asked_without_a_network(new_box: NewBox, setting: str) -> None:
    """Published ports and name servers need a network: without one they are an error, before anything starts.

    Why: engines take both, and drop them silently.
    Check: what the engine's `create` and the core look at in a config.
    """
    value = {8080: None} if setting == "ports" else ["192.0.2.53"]
    with pytest.raises(ConfigError, match=f"^wrong config: {setting}: .* with network=False"):
        new_box(**{setting: value})


@requires(Capability.DNS, Capability.NETWORK)
@verifies("extra_hosts")
def test_extra_hosts_are_known(new_box: NewBox) -> None:
    """`extra_hosts` are what the sandbox's resolver reads.

    Why: each engine spells them in another way, and drops what it can't read.
    Check: /etc/hosts inside.
    """
    box = new_box(extra_hosts={"conformance.example": "192.0.2.7"}, dns=["192.0.2.53"], network=True)
    lines = [line.split() for line in box.read_text("/etc/hosts").splitlines()]
    assert ["192.0.2.7", "conformance.example"] in lines, lines


@requires(Capability.DNS, Capability.NETWORK)
@verifies("dns")
def test_name_servers_are_asked(new_box: NewBox) -> None:
    """The name servers in `dns` are those that a look-up inside asks.

    Why: each engine spells them in another way, and some put a forwarder of their own before them.
    Check: what comes to a name server, which is the sandbox's own here.
    """
    box = new_box(dns=["127.0.0.1"], network=True)
    with server_at(box, 53) as name_server:
        script = "nslookup conformance.example || getent hosts conformance.example || ping -c 1 conformance.example"
        with box.spawn(["sh", "-c", script], stdin=False, timeout=DEADLINE) as lookup:
            assert name_server.datagram(), box.read_text("/etc/resolv.conf")
            lookup.kill()


@requires(Capability.DNS, Capability.USER)
@verifies("extra_hosts")
def test_extra_hosts_need_no_network(new_box: NewBox) -> None:
    """`extra_hosts` are known without a network as well, to a user who is not root too.

    Why: without a network engines leave /etc/hosts to the image, or unreadable.
    Check: /etc/hosts inside.
    """
    box = new_box(extra_hosts=["conformance.example:2001:db8::7"], user=ORDINARY_USER)
    lines = [line.split() for line in box.sh("cat /etc/hosts", timeout=DEADLINE).text.splitlines()]
    assert ["2001:db8::7", "conformance.example"] in lines, lines


@requires(Capability.NETWORK_NAMED)
@verifies("network")
def test_unknown_network_is_an_error(new_box: NewBox) -> None:
    """A network that the engine does not have is an error at the start that names it.

    Why: engines find it out when they create or when they start, in errors of different kinds.
    Check: how the engine's error is turned into ours.
    """
    with pytest.raises(ConfigError, match=r"^wrong config: network: the engine has no network 'no-such-network'"):
        new_box(network="no-such-network")
