"""The network of sandboxes with `network=True`: one for each daemon, and whether it keeps them apart."""

from __future__ import annotations

import contextlib
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest

from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.engine.labels import MANAGED
from samebox.errors import EngineError
from samebox.sandbox.sandbox import Sandbox
from samebox_docker.address import find_address
from samebox_docker.daemon import Daemon
from samebox_docker.options import DockerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox_docker.engine import DockerEngine


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, raw: Any) -> Iterator[str]:
    """Return the name of a network of the test's own, which this process knows nothing of yet."""
    name = f"samebox-test-{secrets.token_hex(4)}"
    for module in ("network", "container"):
        monkeypatch.setattr(f"samebox_docker.{module}.NAME", name)
    monkeypatch.setattr("samebox_docker.daemon._daemons", {})
    yield name
    with contextlib.suppress(docker.errors.NotFound):
        raw.remove_network(name)


@pytest.fixture
def daemons(url: str) -> Iterator[Callable[[], Daemon]]:
    """Return what makes a daemon that shares nothing with another one, as that of another process."""
    made: list[Daemon] = []

    def daemon() -> Daemon:
        made.append(Daemon(find_address(DockerOptions(url=url), {}), 60))
        return made[-1]

    yield daemon
    for each in made:
        each.pool.close()


def test_many_at_once_make_one(network: str, daemons: Callable[[], Daemon], raw: Any) -> None:
    """Docker itself makes two networks of one name where two ask at once."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda daemon: daemon.network.ensure(), [daemons() for _ in range(8)]))

    (made,) = raw.networks(names=[network])
    default = raw.inspect_network("bridge")["Options"]
    assert made["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert made["Options"]["com.docker.network.driver.mtu"] == default["com.docker.network.driver.mtu"]
    assert made["Labels"] == {MANAGED: "1"}


def test_somebody_elses_network_is_refused(network: str, make: Callable[..., Sandbox], raw: Any) -> None:
    """It may let containers reach one another."""
    raw.create_network(network, "bridge")
    with pytest.raises(
        EngineError, match=f"the network '{network}' on Docker at .* was not made by samebox.*remove it"
    ):
        make(network=True).start()


def test_network_that_was_removed_is_made_again(
    network: str, make: Callable[..., Sandbox], engine: DockerEngine, raw: Any
) -> None:
    """For a sandbox that was never started, and for one that has run and was stopped."""
    with make(network=True) as box:
        engine.stop(box.id)
        raw.remove_network(network)
        engine.start(box.id)
        assert network in raw.inspect_container(box.id)["NetworkSettings"]["Networks"]
        assert raw.inspect_container(box.id)["NetworkSettings"]["Networks"][network]["IPAddress"]
    raw.remove_network(network)
    with make(network=True) as box:
        assert "eth0" in box.read_text("/proc/net/dev")


def test_prune_leaves_what_a_container_has(
    network: str, make: Callable[..., Sandbox], engine: DockerEngine, raw: Any
) -> None:
    """A stopped one too, which could not be started any more."""
    with make(network=True) as box:
        assert engine.prune() == []
        engine.stop(box.id)
        assert engine.prune() == []
    assert engine.prune() == [f"network {network}"]
    assert raw.networks(names=[network]) == []
    assert engine.prune() == []


def test_prune_leaves_somebody_elses_network(network: str, engine: DockerEngine, raw: Any) -> None:
    """Although it has the name."""
    raw.create_network(network, "bridge")
    assert engine.prune() == []
    assert raw.networks(names=[network])


def test_daemon_that_keeps_nobody_apart_is_told_of(
    network: str, make: Callable[..., Sandbox], raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a container that tries, once for each daemon, and is not left.

    With --iptables=false, of which Docker tells nobody, the option is without effect, as if it were not given.
    """
    monkeypatch.setattr("samebox_docker.network.ICC", "com.docker.network.bridge.no-such-option")
    before = {each["Id"] for each in raw.containers(all=True)}
    with make(network=True) as first, make(network=True) as second:
        reason = first.unenforced[Capability.NETWORK_APART]
        assert "does not keep sandboxes apart, as with --iptables=false; let it use iptables" in reason
        assert second.unenforced[Capability.NETWORK_APART] == reason
        left = {each["Id"] for each in raw.containers(all=True)} - before - {first.id, second.id}
        assert not [each for each in left if network in str(raw.inspect_container(each)["NetworkSettings"])]
    assert raw.inspect_network(network)["Containers"] == {}


def test_sandbox_on_another_network_is_told_of(
    network: str, make: Callable[..., Sandbox], engine: DockerEngine
) -> None:
    """As one that an earlier version of samebox has made."""
    with make(network="bridge") as box:
        assert Capability.NETWORK_APART not in box.unenforced  # it is the caller's own choice
        assert "it is on another network" in (engine.exposure(box.id) or "")


def test_proxies_of_the_command_line_stay_out(
    make: Callable[..., Sandbox], busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Of sandboxes and of builds: there may be a password in them. What the caller gives is there."""
    proxy = "http://user:secret@192.0.2.1:3128"
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": proxy}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr("samebox_docker.daemon._daemons", {})
    with make(network=True) as box:
        assert "secret" not in box.sh("env; tr '\\0' '\\n' < /proc/1/environ").text
    with make(network=True, env={"HTTP_PROXY": "http://192.0.2.2:3128"}) as box:
        assert box.sh("echo $HTTP_PROXY").text == "http://192.0.2.2:3128\n"
    text = f"FROM {busybox}\nRUN env > /seen; echo {secrets.token_hex()}\n"
    config = SandboxConfig(engine="docker", options={"url": url}, build={"dockerfile": text})
    with Sandbox(config) as box:
        assert "secret" not in box.read_text("/seen")
