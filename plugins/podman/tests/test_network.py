"""The networks of sandboxes with `network=True`: on a rootful service one for each, gone with the sandbox."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.engine.labels import MANAGED
from samebox.errors import SandboxExistsError
from samebox_podman.engine import PodmanEngine
from samebox_podman.host import host_at
from samebox_podman.network import Networks

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient


@pytest.fixture
def rootful(monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    """Return the address of the rootful service, of which this process knows nothing yet."""
    monkeypatch.setattr(host_at(url), "exposure", None)
    return url


def networks(client: PodmanClient) -> dict[str, dict[str, Any]]:
    """Return the networks that samebox has made on a service, by name."""
    found = client.json("/networks/json", {"filters": f'{{"label":["{MANAGED}=1"]}}'}) or []
    return {str(each["name"]): each for each in found}


def own(client: PodmanClient, box: Sandbox) -> set[str]:
    """Return the names of a sandbox's networks."""
    return set(client.json(f"/containers/{box.id}/json")["NetworkSettings"]["Networks"] or {})


def test_each_has_a_network_to_itself(make: Callable[..., Sandbox], client: PodmanClient, engine: PodmanEngine) -> None:
    """On a rootful service; a rootless one has no bridge that anybody could share. It is gone with the sandbox."""
    rootless = engine.probe().rootless
    with make(network=True) as first, make(network=True) as second:
        if rootless:
            assert not networks(client)
            return
        hers, his = own(client, first), own(client, second)
        assert hers.isdisjoint(his)
        for name in hers | his:
            found = networks(client)[name]
            assert found["options"]["isolate"] in {"true", "strict"}
            assert not found["dns_enabled"]
    assert not networks(client).keys() & (hers | his)


@pytest.mark.parametrize("url", [pytest.param("rootful", id="rootful")], indirect=True)
def test_none_is_left_of_a_failed_creation(make: Callable[..., Sandbox], client: PodmanClient, name: str) -> None:
    """As where the name is taken."""
    with make(network=True, name=name) as box:
        before = own(client, box)
        with pytest.raises(SandboxExistsError):
            make(network=True, name=name, on_conflict="error").start()
        engine = PodmanEngine({"url": client.address.url})
        with pytest.raises(SandboxExistsError):
            engine.create(box.config, image=engine.ensure_image(box.config, print), name=name, labels={MANAGED: "1"})
        assert before <= networks(client).keys()
        mine = {each for each in networks(client) if not _used(client, each)}
        assert not mine


def _used(client: PodmanClient, name: str) -> bool:
    return bool(client.json("/containers/json", {"all": "true", "filters": f'{{"network":["{name}"]}}'}))


@pytest.mark.parametrize("url", [pytest.param("rootful", id="rootful")], indirect=True)
def test_whoever_removes_a_sandbox_removes_its_network(make: Callable[..., Sandbox], client: PodmanClient) -> None:
    """Also an engine object that has not made it, as that of `samebox rm`."""
    with make(network=True) as box:
        names = own(client, box)
        PodmanEngine({"url": client.address.url}).remove(box.id)
        assert not networks(client).keys() & names


@pytest.mark.parametrize("url", [pytest.param("rootful", id="rootful")], indirect=True)
def test_prune_removes_what_no_container_has(
    make: Callable[..., Sandbox], client: PodmanClient, engine: PodmanEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after somebody else has removed the container; not at once, since a sandbox may be about to get it."""
    with make(network=True) as kept, make(network=True) as gone:
        client.call("delete", f"/containers/{gone.id}", params={"force": "true", "timeout": 0})
        (name,) = {each for each in networks(client) if not _used(client, each)}
        assert f"network {name}" not in engine.prune()
        monkeypatch.setattr("samebox_podman.network._ABANDONED", "0s")
        deadline = time.monotonic() + 10
        while f"network {name}" not in engine.prune():  # its age is told in seconds
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert own(client, kept) <= networks(client).keys()


@pytest.mark.parametrize("url", [pytest.param("rootful", id="rootful")], indirect=True)
def test_service_that_keeps_nobody_apart_is_told_of(
    make: Callable[..., Sandbox], rootful: str, client: PodmanClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a container that tries, which is not left, and neither is its network."""
    made: list[str] = []

    def without_isolation(self: PodmanClient, method: str, path: str, **settings: Any) -> Any:
        if path == "/networks/create":
            del settings["body"]["options"]
            made.append(settings["body"]["name"])
        return original(self, method, path, **settings)

    original = type(client).call
    monkeypatch.setattr(type(client), "call", without_isolation)
    with make(network=True) as box:
        reason = box.unenforced[Capability.NETWORK_APART]
        assert f"Podman at {rootful} does not keep sandboxes apart, as netavark with iptables, which" in reason
        assert "let it use nftables" in reason
        assert len(made) == 3  # the sandbox's, and those of the two that try
        assert not networks(client).keys() & set(made[1:])
        with make(network=True) as second:
            assert second.unenforced[Capability.NETWORK_APART] == reason
        assert len(made) == 4
    assert not networks(client).keys() & set(made)


@pytest.mark.parametrize("url", [pytest.param("rootful", id="rootful")], indirect=True)
def test_isolation_that_ends_with_another_network_is_told_of(
    make: Callable[..., Sandbox], rootful: str, client: PodmanClient
) -> None:
    """As netavark with iptables: nothing reaches the sandbox until a network is removed."""
    assert rootful
    with make(network=True) as first, make(network=True) as second:
        (name,) = own(client, first)
        found = client.json(f"/containers/{first.id}/json")["NetworkSettings"]["Networks"]
        with make(network=True):
            pass
        reached = "refused" in second.sh(f"nc -w 1 {found[name]['IPAddress']} 9").stderr.decode()
        assert (Capability.NETWORK_APART in first.unenforced) == reached


@pytest.mark.parametrize("url", [pytest.param("rootful", id="rootful")], indirect=True)
def test_sandbox_on_another_network_is_told_of(make: Callable[..., Sandbox], client: PodmanClient) -> None:
    """As one that an earlier version of samebox has made."""
    with make(network="bridge") as box:
        found = client.json(f"/containers/{box.id}/json")
        assert "which it may share with other containers" in (Networks(client).exposure(found) or "")
