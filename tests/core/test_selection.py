"""Which engine a config gets: the order, the refusals, and one error that tells everything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from fakes import Point, engine, plugin, usable
from samebox import (
    Capability,
    ConfigError,
    EngineUnavailableError,
    Isolation,
    IsolationError,
    Sandbox,
    SandboxConfig,
    UnsupportedError,
)
from samebox.engine.local import LocalEngine
from samebox.engine.registry import Registry
from samebox.engine.selection import select

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE = frozenset({Capability.CONTAINER_IMAGE})
EVERY = frozenset(Capability)


def known(*classes: Any) -> Registry:
    """Return a registry of some engines."""
    return Registry([Point(found.name, plugin(found)) for found in classes], ())


def bubblewrap(**more: Any) -> Any:
    """Return a fake of the embedded engine."""
    return engine(
        "bubblewrap", usable("bubblewrap", Isolation.PROCESS), capabilities=EVERY - IMAGE, default_image="host", **more
    )


@pytest.mark.parametrize(
    ("rootless", "image", "taken"),
    [
        (True, None, "bubblewrap"),
        (True, "busybox", "podman"),
        (False, "busybox", "docker"),
        (False, "dir:/x", "bubblewrap"),
    ],
)
def test_auto_takes_the_first_in_order(*, rootless: bool, image: str | None, taken: str) -> None:
    """Embedded without an image; with one rootless Podman, Docker, rootful Podman; `local` never."""
    engines = known(
        engine("local", usable("local", Isolation.NONE), capabilities=EVERY, default_image="host"),
        engine("docker", capabilities=IMAGE),
        engine("podman", usable("podman", rootless=rootless), capabilities=IMAGE),
        bubblewrap(),
        engine("aaa", capabilities=EVERY, default_image="x"),
    )

    assert select(SandboxConfig(image=image), engines).engine.name == taken


def test_auto_passes_over_what_cannot_honour_the_config() -> None:
    """An engine that lacks what was asked for is not taken, even if it is first."""
    engines = known(bubblewrap(), engine("docker", capabilities=EVERY, default_image="x"))
    engines.engines["bubblewrap"].capabilities = frozenset({Capability.HOST_IMAGE})

    assert select(SandboxConfig(memory="1g"), engines).engine.name == "docker"


def test_environment_overrides_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """SAMEBOX_ENGINE decides where the config does not."""
    monkeypatch.setenv("SAMEBOX_ENGINE", "docker")
    engines = known(bubblewrap(), engine("docker", default_image="x"))

    assert select(SandboxConfig(), engines).engine.name == "docker"
    assert select(SandboxConfig(engine="bubblewrap"), engines).engine.name == "bubblewrap"


def test_no_usable_engine_tells_everything() -> None:
    """One error: each engine, what was wrong with it, and how to get one."""
    engines = known(
        engine("docker", "cannot reach unix:///x: refused. Start it"), engine("podman", capabilities=frozenset())
    )
    engines.failures += Registry([Point("bad", ImportError("foo"))], ()).failures
    with pytest.raises(EngineUnavailableError) as caught:
        select(SandboxConfig(image="busybox"), engines)
    text = str(caught.value)

    assert re.search(r"- docker: cannot reach unix:///x: refused\. Start it\n", text)
    assert re.search(r"- podman: engine 'podman' does not support container-image: no such thing on this engine", text)
    assert "engine 'bad' of an unknown distribution  could not be loaded: ImportError: foo" in text
    assert "pip install samebox-bubblewrap" in text


def test_an_asked_for_setting_is_refused_with_the_hosts_reason() -> None:
    """The law of capabilities: never warn and ignore."""
    lacking = usable(
        "docker", missing={Capability.MEMORY_LIMIT: "no memory cgroup", Capability.PIDS_LIMIT: "no pids cgroup"}
    )
    engines = known(engine("docker", lacking, capabilities=EVERY, default_image="x"))
    config = SandboxConfig(engine="docker")

    words = r"'docker' does not support memory-limit: no memory cgroup \(asked for by memory=1073741824\)"
    with pytest.raises(UnsupportedError, match=words):
        select(config.replace(memory="1g"), engines)
    with pytest.raises(UnsupportedError, match="pids-limit: no pids cgroup"):
        select(config.replace(pids_limit=512), engines)


def test_default_hardening_that_lacks_is_listed() -> None:
    """What was not asked for is listed instead, with the same reason."""
    lacking = usable("docker", missing={Capability.PIDS_LIMIT: "no pids cgroup"})
    engines = known(engine("docker", lacking, capabilities=EVERY, default_image="x"))

    assert select(SandboxConfig(engine="docker"), engines).unenforced == {Capability.PIDS_LIMIT: "no pids cgroup"}


def test_the_default_limit_of_memory_is_listed_where_it_lacks() -> None:
    """It is not refused, as nobody has asked for it; and it is not missed where none was wanted."""
    lacking = usable("docker", missing={Capability.MEMORY_LIMIT: "no memory cgroup"})
    engines = known(engine("docker", lacking, capabilities=EVERY, default_image="x"))

    assert select(SandboxConfig(engine="docker"), engines).unenforced == {Capability.MEMORY_LIMIT: "no memory cgroup"}
    assert select(SandboxConfig(engine="docker", memory="unlimited"), engines).unenforced == {}


def test_isolation_is_a_floor() -> None:
    """An engine below it is refused, and the text says how to accept less."""
    engines = known(engine("local", usable("local", Isolation.NONE), default_image="host"))

    with pytest.raises(
        IsolationError, match=r"'local' isolates at the tier none, .* process at least; .*isolation='none'"
    ):
        select(SandboxConfig(engine="local"), engines)
    assert select(SandboxConfig(engine="local", isolation="none"), engines).engine.name == "local"


def test_tiers_are_ordered() -> None:
    """None < process < container < rootless < user-kernel < vm."""
    assert sorted(Isolation, key=lambda tier: tier.rank) == [*Isolation]
    assert Isolation.ROOTLESS > Isolation.CONTAINER >= Isolation.CONTAINER > Isolation.PROCESS > Isolation.NONE
    assert not Isolation.VM < Isolation.USER_KERNEL


def test_an_engine_without_a_default_image_asks_for_one() -> None:
    """Before anything is contacted twice."""
    with pytest.raises(ConfigError, match="engine 'docker' has no default image; name one with image="):
        select(SandboxConfig(engine="docker"), known(engine("docker")))


class Picky(LocalEngine):
    """An engine that probes well and refuses what it is asked to make, as a combination that no capability names."""

    name = "bubblewrap"
    closed = 0

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Refuse."""
        raise UnsupportedError(Capability.BIND_MOUNTS, self.name, "no such mount")

    def close(self) -> None:
        """Count."""
        super().close()
        type(self).closed += 1


class Willing(LocalEngine):
    """The next one."""

    name = "docker"


def test_auto_goes_on_where_the_first_choice_refuses_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so; with the engine named, or no other left, the refusal stands."""
    monkeypatch.setattr("samebox.engine.selection.registry", lambda: known(Picky, Willing))
    Picky.closed = 0
    said: list[str] = []

    with Sandbox(isolation="none", progress=said.append) as box:
        assert box.info is not None
        assert box.exec(["echo", box.engine.name]).text == "docker\n"  # type: ignore[union-attr]
    assert said == ["engine 'bubblewrap' does not support bind-mounts: no such mount; taking docker (none) instead"]
    assert Picky.closed == 1
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="no such mount"):
            Sandbox(engine="bubblewrap", isolation="none").start()
    monkeypatch.setattr("samebox.engine.selection.registry", lambda: known(Picky))
    box = Sandbox(isolation="none")
    for _ in range(2):
        with pytest.raises(EngineUnavailableError, match=r"- bubblewrap: .* no such mount"):
            box.start()
    box.close()
