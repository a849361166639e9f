"""The network: none, one of the sandbox's own through slirp4netns, or the host's when asked for by name."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.errors import ConfigError, EngineError, UnsupportedError
from samebox_bubblewrap.network import UserNetwork, network_missing
from samebox_bubblewrap.sandboxes import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox_bubblewrap.engine import BubblewrapEngine

LOW_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
ASK = "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print(s.recv(9).decode())"


@pytest.fixture
def listener() -> Iterator[int]:
    """Return the port of a server on the host's loopback, which says who it is."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"host")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def networked(engine: BubblewrapEngine, make_box: Callable[..., Sandbox]) -> Sandbox:
    """Return a sandbox with a network of its own, where this host can give one."""
    if reason := engine.probe().missing.get(Capability.NETWORK):
        pytest.skip(reason)
    return make_box(network=True)


def interfaces(box: Sandbox) -> list[str]:
    """Return the names of a sandbox's interfaces."""
    return sorted(line.split(":")[0].strip() for line in box.read_text("/proc/net/dev").splitlines()[2:])


def test_network_of_its_own(networked: Sandbox, listener: int) -> None:
    """There is a way out and a name server, and the host's loopback and abstract sockets are out of reach."""
    assert interfaces(networked) == ["lo", "tap0"]
    assert networked.read_text("/etc/resolv.conf") == "nameserver 10.0.2.3\n"
    assert "00000000" in networked.read_text("/proc/net/route")
    for address in ("127.0.0.1", "10.0.2.2"):
        assert not networked.exec(["python3", "-c", ASK, address, str(listener)], timeout=20).ok
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0samebox-test-{listener}")
        assert f"samebox-test-{listener}" not in networked.read_text("/proc/net/unix")


def test_network_reaches_the_host_by_its_own_address(networked: Sandbox) -> None:
    """Packets go out: a server on an address of the host that is not loopback answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no network itself")
        address = probe.getsockname()[0]
    with socket.create_server((address, 0)) as server:
        box = networked
        process = box.spawn(["python3", "-c", ASK, address, str(server.getsockname()[1])])
        server.settimeout(10)
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"outside")
        assert process.wait().ok


def test_end_of_the_sandbox_ends_its_network(networked: Sandbox) -> None:
    """No slirp4netns and no bwrap is left; the process that has them as children would keep zombies."""

    def children() -> int:
        return sum(len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir())

    networked.start()
    during = children()
    networked.close()
    assert children() == during - 2


def test_network_of_the_host_has_to_be_named(make_box: Callable[..., Sandbox], listener: int) -> None:
    """network="host" shares it, loopback included, as with other engines."""
    box = make_box(network="host")
    assert box.exec(["python3", "-c", ASK, "127.0.0.1", str(listener)], timeout=20).text == "host\n"


def test_none_by_its_name(make_box: Callable[..., Sandbox]) -> None:
    """network="none" is no network, and other names are refused with those that there are."""
    assert interfaces(make_box(network="none")) == ["lo"]
    with pytest.raises(ConfigError, match="no networks with names, but the modes none and host"):
        make_box(network="mynet").start()


def test_missing_program_is_told_with_the_remedy(
    engine: BubblewrapEngine, make_box: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without slirp4netns network=True is refused, and it is said how to get it."""
    assert engine.name == "bubblewrap"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    network_missing.cache_clear()
    try:
        assert "`apt-get install slirp4netns`" in network_missing()
        with pytest.raises(
            UnsupportedError, match="does not support network: a network of its own needs the program slirp"
        ):
            make_box(network=True).start()
    finally:
        network_missing.cache_clear()


def test_failing_program_is_an_error(engine: BubblewrapEngine) -> None:
    """Its own words, and nothing left."""
    if reason := engine.probe().missing.get(Capability.NETWORK):
        pytest.skip(reason)
    with open("/dev/null", "rb") as null, pytest.raises(EngineError, match=r"slirp4netns could not make .*nsenter: "):
        UserNetwork(null.fileno(), null.fileno(), {})


@pytest.mark.parametrize("ports", [{}, {8080: None}])
def test_slirp_is_confined(engine: BubblewrapEngine, make_box: Callable[..., Sandbox], ports: dict[int, None]) -> None:
    """What reads a sandbox's packets has a filter, no rights over the host, and no files but those of /etc and /run."""
    if reason := engine.probe().missing.get(Capability.NETWORK):
        pytest.skip(reason)
    box = make_box(network=True, ports=ports).start()
    (pid,) = slirps()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    # CAP_NET_BIND_SERVICE, which slirp4netns keeps, and it is one of its own user namespace only.
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {f"{1 << 10:016x}"}
    assert os.stat(f"/proc/{pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino
    mounted = {line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    assert {"/", "/etc", "/run"} <= mounted
    assert all(path == "/" or path.startswith(("/etc", "/run")) for path in mounted)
    if os.geteuid() == 0:
        user = registry.find(box.id).user
        assert user is not None
        assert (set(status["Uid"].split()), set(status["Gid"].split())) == ({str(user.uid)}, {str(user.gid)})
        assert not status["Groups"].strip()
        assert sorted(os.listdir(f"/proc/{pid}/root")) == ["etc", "run"]
    else:
        assert set(status["Uid"].split()) == {str(os.getuid())}


def slirps() -> set[int]:
    """Return the slirp4netns that this process has started."""
    children: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        children.update(map(int, (task / "children").read_text().split()))
    return {pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "slirp4netns\n"}


def test_build_without_confinement_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A slirp4netns that can't be confined is not used, and it is said what to install."""
    old = tmp_path / "slirp4netns"
    old.write_text("#!/bin/sh\necho --configure --enable-sandbox\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    network_missing.cache_clear()
    try:
        assert "run unconfined, as this build of it does not know --enable-seccomp; install" in network_missing()
    finally:
        network_missing.cache_clear()


@pytest.mark.parametrize("settings", [{}, {"user": "alice"}, {"read_only": True}, {"image": None}])
def test_names_of_the_config(make_box: Callable[..., Sandbox], rootfs: Path, settings: dict[str, Any]) -> None:
    """The files that C libraries read have what was asked for, whatever the image has there and who one is."""
    wanted = {"image": f"dir:{rootfs}", **settings}
    extra = {"db.example": "192.0.2.7", "six.example": "2001:db8::1"}
    box = make_box(network="host", dns=["192.0.2.53", "2001:db8::53"], extra_hosts=extra, **wanted)
    assert box.exec(["cat", "/etc/resolv.conf"]).text == "nameserver 192.0.2.53\nnameserver 2001:db8::53\n"
    hosts = box.exec(["cat", "/etc/hosts"]).text
    assert hosts.startswith("192.0.2.7\tdb.example\n2001:db8::1\tsix.example\n127.0.0.1\tlocalhost ")


def test_names_are_resolved(make_box: Callable[..., Sandbox]) -> None:
    """A name of `extra_hosts` is known without any network, and goes before what is known anyway."""
    box = make_box(extra_hosts={"db.example": "192.0.2.7", "localhost": "192.0.2.8"})
    script = "import socket; print(socket.gethostbyname('db.example'), socket.gethostbyname('localhost'))"
    assert box.exec(["python3", "-c", script]).check().text == "192.0.2.7 192.0.2.8\n"


def test_name_servers_that_can_not_be_asked(make_box: Callable[..., Sandbox]) -> None:
    """Beyond the three that C libraries look at, they would be dropped silently."""
    with pytest.raises(ConfigError, match="3 name servers at most"):
        make_box(dns=["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"], network="host").start()


BIND = "import socket, sys; socket.socket().bind(('0.0.0.0', 80)); print('bound')"


@pytest.mark.parametrize("user", ["root", "1000"])
def test_low_ports_are_everybodys(make_box: Callable[..., Sandbox], user: str) -> None:
    """In a network of the sandbox's own; the host's stay its root's."""
    before = LOW_PORTS.read_text()
    assert make_box(user=user).exec(["python3", "-c", BIND]).text == "bound\n"
    assert LOW_PORTS.read_text() == before


def test_low_ports_of_the_host_are_left_alone(make_box: Callable[..., Sandbox]) -> None:
    """With the host's network nothing is changed, although there is a way to."""
    before = LOW_PORTS.read_text()
    box = make_box(network="host")
    assert box.read_text(str(LOW_PORTS)) == before == LOW_PORTS.read_text()


def test_low_ports_may_stay_roots(make_box: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox starts all the same, as where /proc/sys is read-only."""
    monkeypatch.setattr("samebox_bubblewrap.low_ports._FIRST", Path("/proc/sys/net/ipv4/no-such-setting"))
    done = make_box(user="1000").exec(["python3", "-c", BIND])
    assert (done.ok, "Permission denied" in done.stderr.decode()) == (False, True)
