"""How a config gets its tier of isolation: from an engine's own wall, from another runtime, or the strongest of all."""

from __future__ import annotations

import pickle
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest

from fakes import FakeEngine, Point, plugin, usable
from samebox import (
    Capability,
    ConfigError,
    EngineError,
    EngineUnavailableError,
    Isolation,
    IsolationError,
    Sandbox,
    SandboxConfig,
    SandboxExistsError,
    UnsupportedError,
    load_config,
)
from samebox.cli import run
from samebox.engine import EngineInfo, EngineOptions
from samebox.engine.labels import ISOLATION
from samebox.engine.local import LocalEngine
from samebox.engine.oci.runtimes import gvisor_lacks, runtime_tier, stronger_runtimes
from samebox.engine.registry import Registry
from samebox.engine.requirements import check
from samebox.engine.selection import Choice, select
from samebox.sandbox.summary import summary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EVERY = frozenset(Capability)
NO_LIMIT = {Capability.MEMORY_LIMIT: "it ignores cgroups"}


class Options(EngineOptions):
    """The options of an engine that has runtimes."""

    runtime: str | None = None


class Tiered(FakeEngine):
    """An engine with walls by the names of its runtimes; "" is the one it has by itself."""

    options: Options
    options_model = Options
    capabilities = EVERY
    default_image = "x"
    walls: ClassVar[Mapping[str, EngineInfo]] = {}
    open = 0

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        type(self).open += 1

    def probe(self) -> EngineInfo:
        """Return the wall of the runtime that the options name."""
        if (name := self.options.runtime or "") not in self.walls:
            raise ConfigError(f"no runtime {name!r}")
        return self.walls[name]

    def stronger(self) -> list[Mapping[str, Any]]:
        """Return the runtimes, unless the options name one."""
        return [] if self.options.runtime else [{"runtime": name} for name in self.walls if name]

    def close(self) -> None:
        """Count."""
        type(self).open -= 1


def tiered(name: str, **walls: EngineInfo | Isolation) -> type[Tiered]:
    """Return an engine with walls by runtime; `own` is the one it has by itself."""
    made = {}
    for runtime, wall in walls.items():
        tier = wall if isinstance(wall, EngineInfo) else usable(name, wall, details={"runtime": runtime})
        made["" if runtime == "own" else runtime] = tier
    return type(name.title(), (Tiered,), {"name": name, "walls": made, "open": 0})


def known(*classes: type[FakeEngine]) -> Registry:
    """Return a registry of some engines."""
    return Registry([Point(found.name, plugin(found)) for found in classes], ())


def taken(engines: Registry, **settings: Any) -> tuple[str, str | None, Isolation]:
    """Return the engine that a config gets, its runtime and its tier; everything else is closed again."""
    selection = select(SandboxConfig(**settings), engines)
    selection.engine.close()
    assert [found.open for found in engines.engines.values() if issubclass(found, Tiered) and found.open] == []
    options = selection.engine.options
    return selection.engine.name, options.runtime if isinstance(options, Options) else None, selection.info.isolation


DOCKER: dict[str, EngineInfo | Isolation] = {
    "own": Isolation.CONTAINER,
    "runsc": usable("docker", Isolation.USER_KERNEL, missing=NO_LIMIT),
    "runsc2": Isolation.USER_KERNEL,
    "kata": Isolation.VM,
}


@pytest.mark.parametrize("engine", ["auto", "docker"])
@pytest.mark.parametrize(
    ("settings", "runtime", "tier"),
    [
        ({}, None, Isolation.CONTAINER),
        ({"isolation": "container"}, None, Isolation.CONTAINER),
        ({"isolation": "rootless"}, "runsc", Isolation.USER_KERNEL),
        ({"isolation": "user-kernel"}, "runsc", Isolation.USER_KERNEL),
        ({"isolation": "user-kernel", "memory": "1g"}, "runsc2", Isolation.USER_KERNEL),
        ({"isolation": "vm"}, "kata", Isolation.VM),
        ({"isolation": "strongest"}, "kata", Isolation.VM),
        ({"options": {"runtime": "runsc2"}, "isolation": "strongest"}, "runsc2", Isolation.USER_KERNEL),
        ({"options": {"runtime": "runsc"}}, "runsc", Isolation.USER_KERNEL),
    ],
    ids=str,
)
def test_a_runtime_is_found(engine: str, settings: dict[str, Any], runtime: str | None, tier: Isolation) -> None:
    """The weakest that is strong enough and can honour the config; the options' own always wins."""
    assert taken(known(tiered("docker", **DOCKER)), engine=engine, **settings) == ("docker", runtime, tier)


def test_the_order_of_engines_stays() -> None:
    """The first engine that has the tier at all is taken, whatever the second is by itself."""
    engines = known(
        tiered("podman", own=usable("podman", Isolation.ROOTLESS, rootless=True)),
        tiered("docker", own=Isolation.CONTAINER, runsc=Isolation.USER_KERNEL),
        tiered("zzz", own=Isolation.VM),
    )

    assert taken(engines) == ("podman", None, Isolation.ROOTLESS)
    assert taken(engines, isolation="user-kernel") == ("docker", "runsc", Isolation.USER_KERNEL)
    assert taken(engines, isolation="vm") == ("zzz", None, Isolation.VM)
    assert taken(engines, isolation="strongest") == ("zzz", None, Isolation.VM)


def test_the_strongest_lacks_least() -> None:
    """Among equal tiers the one with fewer holes is taken, then the first in the order; what was asked for is kept."""
    lacking = usable("docker", Isolation.USER_KERNEL, missing=NO_LIMIT)
    engines = known(
        tiered("docker", own=Isolation.CONTAINER, runsc=lacking),
        tiered("aaa", own=Isolation.USER_KERNEL),
        tiered("bbb", own=Isolation.USER_KERNEL),
    )
    alone = known(tiered("docker", own=Isolation.CONTAINER, runsc=lacking))

    assert taken(engines, isolation="strongest") == ("aaa", None, Isolation.USER_KERNEL)
    assert taken(alone, isolation="strongest") == ("docker", "runsc", Isolation.USER_KERNEL)
    assert taken(alone, isolation="strongest", memory="1g") == ("docker", None, Isolation.CONTAINER)


def test_the_strongest_is_no_weaker_than_the_default() -> None:
    """`local` is never taken for it, not even by its name."""
    local = known(type("Local", (FakeEngine,), {"name": "local", "info": usable("local", Isolation.NONE)}))

    with pytest.raises(EngineUnavailableError, match="Tried:\n  none is installed"):
        select(SandboxConfig(isolation="strongest"), local)
    with pytest.raises(IsolationError, match="at the tier none, the config asks for process at least"):
        select(SandboxConfig(isolation="strongest", engine="local"), local)


def test_the_next_strongest_is_taken_where_one_refuses() -> None:
    """As for a combination that no capability stands for, or a runtime that is not there after all."""
    engines = known(tiered("docker", **DOCKER))
    choice = Choice(SandboxConfig(isolation="strongest", engine="docker"), engines)
    found = []
    refused: UnsupportedError | IsolationError | None = None
    for number in range(4):
        with closing(choice.next(refused).engine) as engine:
            assert isinstance(engine, Tiered)
            found.append(engine.options.runtime)
        refused = IsolationError(f"refusal {number}", Isolation.CONTAINER)

    assert found == ["kata", "runsc2", "runsc", None]
    with pytest.raises(IsolationError, match="refusal 3"):
        choice.next(refused)
    assert engines.engines["docker"].open == 0  # type: ignore[attr-defined]


def test_no_runtime_names_the_tier_the_offers_and_the_remedy() -> None:
    """Of the engine that was named, and of all."""
    engines = known(
        tiered("docker", own=Isolation.CONTAINER, runsc=Isolation.USER_KERNEL),
        tiered("podman", own=Isolation.CONTAINER),
    )
    with pytest.raises(IsolationError) as caught:
        select(SandboxConfig(engine="docker", isolation="vm"), engines)

    assert str(caught.value) == (
        "engine 'docker' isolates at the tier container (runtime own), the config asks for vm at least; with "
        "runtime='runsc' at the tier user-kernel; choose another engine, or accept less with isolation='user-kernel'. "
        "Kata Containers give the tier vm (https://katacontainers.io/docs/): name their runtime in the daemon.json of "
        "Docker, or in the containers.conf of Podman"
    )
    assert caught.value.tier is Isolation.USER_KERNEL
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - its own
    assert (str(copy), copy.tier) == (str(caught.value), caught.value.tier)
    with pytest.raises(
        IsolationError, match=r"with these options it has no stronger wall; .*install its runsc \(https:"
    ):
        select(SandboxConfig(engine="podman", isolation="user-kernel"), engines)
    with pytest.raises(EngineUnavailableError) as every:
        select(SandboxConfig(isolation="vm"), engines)
    assert "- docker: engine 'docker' isolates at the tier container" in str(every.value)
    assert "- podman: engine 'podman' isolates at the tier container" in str(every.value)
    assert str(every.value).count("Kata Containers give the tier vm") == 1


def test_a_runtime_that_cannot_honour_the_config_is_told() -> None:
    """And nobody is told to install what is there."""
    docker = tiered("docker", own=Isolation.CONTAINER, runsc=DOCKER["runsc"])
    with pytest.raises(IsolationError) as caught:
        select(SandboxConfig(engine="docker", isolation="user-kernel", memory="1g"), known(docker))

    assert (
        "and not with runtime='runsc': engine 'docker' does not support memory-limit: it ignores cgroups (asked for by "
        "memory=1073741824); choose another engine"
    ) in str(caught.value)
    assert "gVisor" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "program", "tier"),
    [
        ("runsc", "", Isolation.USER_KERNEL),
        ("runsc-layered", "/opt/wrap.sh", Isolation.USER_KERNEL),
        ("gvisor", "/usr/bin/runsc", Isolation.USER_KERNEL),
        ("/usr/local/bin/runsc", "", Isolation.USER_KERNEL),
        ("kata", "/usr/bin/kata-runtime", Isolation.VM),
        ("kata-qemu", "", Isolation.VM),
        ("kata-clh", "", Isolation.VM),
        ("io.containerd.kata.v2", "", Isolation.VM),
        ("box", "io.containerd.kata-fc.v2", Isolation.VM),
        ("krun", "/usr/bin/krun", Isolation.VM),
        ("runc", "runc", None),
        ("runsc", "/usr/sbin/runc", None),
        ("katana", "/usr/bin/katana", None),
        ("crun-wasm", "/usr/bin/crun-wasm", None),
        ("io.containerd.runc.v2", "runc", None),
        ("", "", None),
    ],
)
def test_tier_of_a_runtime(name: str, program: str, tier: Isolation | None) -> None:
    """Its program is believed before its name, which anyone may choose."""
    assert runtime_tier(name, program) is tier


def test_stronger_runtimes_are_in_order() -> None:
    """The weakest first; what is as strong as the engine's own is none of them."""
    programs = {"kata": "", "runc": "runc", "b": "/x/runsc", "a": "/x/runsc", "krun": ""}

    assert stronger_runtimes(programs, Isolation.ROOTLESS) == ["a", "b", "kata", "krun"]
    assert stronger_runtimes(programs, Isolation.USER_KERNEL) == ["kata", "krun"]
    assert stronger_runtimes(programs, Isolation.VM) == []
    assert Capability.SNAPSHOT in gvisor_lacks(layered=False)
    assert Capability.SNAPSHOT not in gvisor_lacks(layered=True)


def test_untrusted_is_what_it_says() -> None:
    """Each setting is in the config's repr; overrides win, and are asked for as any setting is."""
    config = SandboxConfig.untrusted(image="busybox", max_lifetime=60)

    assert (config.isolation, config.read_only, config.network) == ("strongest", True, False)
    assert (config.disk, config.memory, config.pids_limit, config.max_lifetime) == (1 << 30, 2 << 30, 512, 60)
    assert "isolation='strongest'" in repr(config)
    assert not config.asked & {"memory", "pids_limit"}
    assert "memory" in SandboxConfig.untrusted(memory="1g").asked
    with pytest.raises(ConfigError, match="memori: there is no such setting"):
        SandboxConfig.untrusted(memori="1g")  # type: ignore[call-arg]


def test_untrusted_is_refused_nowhere_for_what_it_sets_itself() -> None:
    """A host without cgroups and quotas gets it too; what is missing is listed. An override is asked for in words."""
    missing = dict.fromkeys([Capability.MEMORY_LIMIT, Capability.PIDS_LIMIT, Capability.DISK_LIMIT], "no")
    engines = known(tiered("docker", own=usable("docker", Isolation.CONTAINER, missing=missing)))

    selection = select(SandboxConfig.untrusted(), engines)
    assert selection.unenforced == {Capability.MEMORY_LIMIT: "no", Capability.PIDS_LIMIT: "no"}
    for settings in ({"memory": "1g"}, {"pids_limit": 100}, {"read_only": False}):
        with pytest.raises(EngineUnavailableError, match=r"-limit: no \(asked for by"):
            select(SandboxConfig.untrusted(**settings), engines)


def test_summary_tells_what_was_chosen() -> None:
    """The engine, the tier, the limits that hold and those that don't."""
    docker = tiered("docker", own=Isolation.CONTAINER, runsc=DOCKER["runsc"])
    config = SandboxConfig.untrusted()

    assert summary(config, select(config, known(docker))) == (
        "docker 1.0 (user-kernel): no network, read-only root, 512 processes, disk 1g, at most 3600 s; not enforced "
        "here: memory-limit"
    )
    open_config = SandboxConfig(network=True, memory="unlimited", cpus=1.5, disk=1000, pids_limit=20)
    assert summary(open_config, select(open_config, known(docker))) == (
        "docker 1.0 (container, runtime own): network, memory unlimited, 20 processes, 1.5 processors, disk 1000"
    )
    named = SandboxConfig(network="net")
    assert "network net, memory 17m" in summary(named.replace(memory="17m"), select(SandboxConfig(), known(docker)))


class Kept(LocalEngine):
    """An engine that says it makes containers which outlive it."""

    name = "docker"
    capabilities = EVERY
    tier = Isolation.CONTAINER
    shared: ClassVar[dict[str, Any]] = {}

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self._sandboxes = self.shared

    def probe(self) -> EngineInfo:
        """Return the tier that a test has set."""
        return usable("docker", self.tier)

    def close(self) -> None:
        """Leave the sandboxes alone."""


def test_a_weaker_sandbox_of_the_name_is_not_attached_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of its config does not tell the runtime that it was made with."""
    monkeypatch.setattr("samebox.engine.selection.registry", lambda: known(Kept))  # type: ignore[arg-type]
    with Sandbox(name="tier-test") as box:
        assert Kept.shared[box.id].labels[ISOLATION] == "container"
        monkeypatch.setattr(Kept, "tier", Isolation.USER_KERNEL)
        for asked in ("user-kernel", "strongest"):
            with pytest.raises(
                SandboxExistsError, match="was made at the tier container, and user-kernel is asked for"
            ):
                Sandbox(name="tier-test", isolation=asked).start()
        with Sandbox(name="tier-test", isolation="container") as same:
            assert same.attached
            assert same.summary.startswith("docker 1.0 (user-kernel)")


class Broken(Kept):
    """An engine whose runtime for another tier can't start anything."""

    options: Options
    options_model = Options

    def probe(self) -> EngineInfo:
        """Return a tier by the runtime."""
        return usable("docker", Isolation.VM if self.options.runtime else Isolation.CONTAINER)

    def stronger(self) -> list[Mapping[str, Any]]:
        """Return the runtime."""
        return [{"runtime": "kata"}]

    def start(self, sandbox_id: str) -> None:
        """Fail, with the runtime."""
        if self.options.runtime:
            raise EngineError("no KVM")
        super().start(sandbox_id)


@pytest.mark.parametrize("isolation", ["vm", "strongest"])
def test_a_runtime_that_fails_is_told_and_not_passed_over(
    isolation: Literal["vm", "strongest"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that one runtime can't start would else get itself a weaker wall."""
    monkeypatch.setattr("samebox.engine.selection.registry", lambda: known(Broken))  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="no KVM") as caught:
        Sandbox(isolation=isolation).start()

    (note,) = caught.value.__notes__
    assert note == (
        f"runtime='kata' was taken for isolation='{isolation}'; if it can't work here, name another tier, or what does "
        "work in options"
    )
    assert Kept.shared == {}
    with Sandbox(isolation="container") as box:
        assert box.exec(["true"]).ok


@pytest.mark.parametrize(
    "text",
    [
        'isolation = "process"\nread_only = false\nmax_lifetime = 1e9\ndisk = "1t"\n',
        'engine = "bubblewrap"\ncpus = 1\n',
        'network = true\nmounts = ["/etc:/etc"]\n',
        'nonsense = "is not even checked"\n',
    ],
)
def test_no_file_has_a_say_in_untrusted(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only narrows would choose the engine; it is said what was not taken."""
    (tmp_path / "samebox.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    config = run._load({"memory": "1g"}, trust=False, untrusted=True, say=said.append)

    assert config == SandboxConfig.untrusted(memory="1g")
    (line,) = said
    assert line.startswith(f"not taken from {tmp_path}/samebox.toml with --untrusted: {text.split(maxsplit=1)[0]}")


def test_untrusted_and_trust_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """One takes all of a file, the other nothing."""
    with pytest.raises(SystemExit):
        run._load({}, trust=True, untrusted=True, say=print)
    assert "--trust takes settings from files and --untrusted takes none" in capsys.readouterr().err


def test_base_is_beneath_all(tmp_path: Path) -> None:
    """Each origin is told; files that are not taken are not checked."""
    (tmp_path / "samebox.toml").write_text('memory = "1g"\n')
    loaded = load_config(tmp_path, {"SAMEBOX_CPUS": "2"}, base={"cpus": 1, "memory": "3g"}, user="7")

    assert (loaded.config.cpus, loaded.config.memory, loaded.config.user) == (2, 1 << 30, "7")
    assert loaded.origins["memory"] == f"{tmp_path}/samebox.toml"
    without = load_config(tmp_path, {}, base={"memory": "3g"}, files=False)
    assert (without.config.memory, without.origins["memory"]) == (3 << 30, "base")
    assert without.left_out == {f"{tmp_path}/samebox.toml": ["memory"]}
    assert loaded.left_out == {}


def test_a_file_without_a_bottom_is_an_error(tmp_path: Path) -> None:
    """Its reader goes by recursion."""
    (tmp_path / "samebox.toml").write_text("x = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"samebox\.toml can't be read as TOML"):
        load_config(tmp_path, {})


def test_disk_needs_a_quota_for_a_writable_root_alone() -> None:
    """Under a read-only root the memory file systems have its size."""
    info = usable("docker", missing={Capability.DISK_LIMIT: "no quota"})
    engine = tiered("docker", own=info)()

    assert check(SandboxConfig(disk="1m", read_only=True), engine, info) == {}
    with pytest.raises(UnsupportedError, match="disk-limit: no quota"):
        check(SandboxConfig(disk="1m"), engine, info)
