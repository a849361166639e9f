"""What a daemon's own account of its host means: capabilities that it lacks, its tier, its runtimes."""

from __future__ import annotations

from socket import gethostname
from typing import TYPE_CHECKING, Any

import pytest

from interpreter import printed
from samebox.capabilities import Capability, Isolation
from samebox.errors import EngineUnavailableError
from samebox_docker.address import Address
from samebox_docker.clients import Greeting
from samebox_docker.host import engine_info, hides_tmpfs_modes, stronger
from samebox_docker.privilege import lacks_capabilities, no_privilege

if TYPE_CHECKING:
    from pathlib import Path

    from samebox.engine import EngineInfo
    from samebox_docker.engine import DockerEngine

ORDINARY = {
    "OSType": "linux",
    "ServerVersion": "28.5.2",
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "CgroupDriver": "systemd",
    "CgroupVersion": "2",
    "Driver": "overlay2",
    "Architecture": "x86_64",
    "KernelVersion": "6.1.0-1",
    "DefaultRuntime": "runc",
    "Runtimes": {"runc": {"path": "runc"}, "runsc": {"path": "/usr/bin/runsc"}, "box": {"runtimeType": "io/kata.v2"}},
    "RuncCommit": {"ID": "v1.2.5-0-g59923ef"},
    "DriverStatus": [["Backing Filesystem", "xfs"], ["Supports d_type", "true"]],
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
}
USUAL = {Capability.SELINUX, Capability.USERNS, Capability.GPUS}
"""What it lacks, as most hosts do."""


def info(runtime: str | None = None, **changes: Any) -> EngineInfo:
    """Return what an ordinary daemon with some changes is."""
    address = Address("unix:///d.sock", "options.url")
    return engine_info(address, Greeting("1.51", "Docker/28.5.2 (linux)"), ORDINARY | changes, runtime)


def test_ordinary() -> None:
    """An ordinary daemon lacks what few hosts have, and says where it was found."""
    found = info()

    assert (USUAL, Isolation.CONTAINER, False) == (set(found.missing), found.isolation, found.rootless)
    assert ("docker", "28.5.2", "unix:///d.sock") == (found.name, found.version, found.address)
    assert {
        "address from": "options.url",
        "API version": "1.51",
        "runtime": "runc",
        "storage driver": "overlay2",
        "cgroup": "v2, driver systemd",
        "architecture": "x86_64",
        "kernel": "6.1.0-1",
    } == found.details


def test_rootless_without_delegation() -> None:
    """A rootless daemon without cgroups would take limits and ignore them, so it has none."""
    found = info(
        CgroupDriver="none",
        MemoryLimit=False,
        PidsLimit=False,
        CpuCfsQuota=False,
        SecurityOptions=["name=seccomp,profile=builtin", "name=rootless"],
    )

    assert (Isolation.ROOTLESS, True) == (found.isolation, found.rootless)
    limits = {Capability.MEMORY_LIMIT, Capability.CPU_LIMIT, Capability.PIDS_LIMIT, Capability.SWAP_LIMIT}
    assert limits | USUAL | {Capability.APPARMOR} == set(found.missing)
    assert (
        "the daemon uses no cgroups, as a rootless one without cgroup v2 and delegation, so limits would be ignored. "
        "Set "
        "up delegation: https://docs.docker.com/engine/security/rootless/tips/#limiting-resources"
    ) == found.missing[Capability.PIDS_LIMIT]


@pytest.mark.parametrize(
    ("field", "capability", "controller"),
    [
        ("MemoryLimit", Capability.MEMORY_LIMIT, "memory"),
        ("CpuCfsQuota", Capability.CPU_LIMIT, "cpu"),
        ("PidsLimit", Capability.PIDS_LIMIT, "pids"),
        ("SwapLimit", Capability.SWAP_LIMIT, "swap"),
    ],
)
def test_single_controller(field: str, capability: Capability, controller: str) -> None:
    """A controller that is missing takes its one limit with it."""
    found = info(None, **{field: False})

    assert {capability} | USUAL == set(found.missing)
    assert f"the daemon has no {controller} controller to use ({field} is false)" in found.missing[capability]


@pytest.mark.parametrize("options", [[], None], ids=str)
def test_no_seccomp(options: list[str] | None) -> None:
    """Without seccomp there is no filter; whether the daemon has a profile of its own does not matter."""
    lost = {Capability.SECCOMP, Capability.SECCOMP_PROFILE, Capability.APPARMOR}
    assert lost | USUAL == set(info(SecurityOptions=options).missing)
    unconfined = info(SecurityOptions=["name=seccomp,profile=unconfined"])
    assert {Capability.APPARMOR} | USUAL == set(unconfined.missing)


@pytest.mark.parametrize(
    ("changes", "capability"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=selinux"]}, Capability.SELINUX),
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"]}, Capability.USERNS),
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, Capability.GPUS),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}, Capability.GPUS),
        ({"Driver": "btrfs", "DriverStatus": None}, Capability.DISK_LIMIT),
    ],
    ids=str,
)
def test_what_few_hosts_have(changes: dict[str, Any], capability: Capability) -> None:
    """A host that has it lacks it no more."""
    assert capability not in info(None, **changes).missing


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"DriverStatus": [["Backing Filesystem", "extfs"]]}, "pquota, and the service's files are on extfs"),
        ({"Driver": "fuse-overlayfs"}, "the storage driver 'fuse-overlayfs' can't limit"),
    ],
    ids=str,
)
def test_no_disk_limit(changes: dict[str, Any], reason: str) -> None:
    """A storage driver that has no quotas is named."""
    assert reason in info(None, **changes).missing[Capability.DISK_LIMIT]


@pytest.mark.parametrize(
    ("bounding", "expected"),
    [("000001ffffffffff", None), ("000001fffeffffff", "without the capabilities of number 24, so")],
)
def test_privilege(tmp_path: Path, bounding: str, expected: str | None) -> None:
    """A daemon whose own capabilities are bounded can't give all of them."""
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/cap_last_cap").write_text("40\n")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text(f"Name:\tdockerd\nCapBnd:\t{bounding}\n")
    found = lacks_capabilities(tmp_path, 7)

    assert found is None if expected is None else expected in str(found)


def test_privilege_elsewhere() -> None:
    """Of a daemon on another host, or none at all, nothing is said."""
    assert no_privilege(Address("tcp://127.0.0.1:1", "options.url")) is None
    assert no_privilege(Address("unix:///no/such.sock", "options.url")) is None


@pytest.mark.parametrize(
    ("runtime", "changes", "isolation"),
    [
        ("runsc", {}, Isolation.USER_KERNEL),
        ("box", {}, Isolation.VM),
        (None, {"DefaultRuntime": "runsc"}, Isolation.USER_KERNEL),
        ("runc", {"DefaultRuntime": "runsc"}, Isolation.CONTAINER),
    ],
)
def test_tier(runtime: str | None, changes: dict[str, Any], isolation: Isolation) -> None:
    """The runtime decides how strong the wall is."""
    assert isolation == info(runtime, **changes).isolation


def test_stronger_runtimes() -> None:
    """Those beyond the default's tier, the weakest first; a runtime of containerd's tells its shim alone."""
    address = Address("unix:///d.sock", "options.url")
    plain = {"runc": {"path": "runc"}, "runsc": {"path": "/usr/bin/runc"}}

    assert stronger(address, ORDINARY) == ["runsc", "box"]
    assert stronger(address, ORDINARY | {"DefaultRuntime": "runsc"}) == ["box"]
    assert stronger(address, ORDINARY | {"Runtimes": plain}) == []
    assert stronger(address, ORDINARY | {"Runtimes": None}) == []


def test_a_runtime_without_a_program_is_none(tmp_path: Path) -> None:
    """A daemon takes any path, and fails at the start; that of another host can't be seen from here."""
    (tmp_path / "runsc").touch()
    runtimes = {name: {"path": f"{tmp_path}/{name}"} for name in ("runsc", "kata")} | {"krun": {"path": "krun"}}
    here = ORDINARY | {"Name": gethostname(), "Runtimes": runtimes}

    assert stronger(Address("unix:///d.sock", "options.url"), here) == ["runsc", "krun"]
    assert stronger(Address("tcp://host:1", "options.url"), here) == ["runsc", "kata", "krun"]
    assert stronger(Address("unix:///d.sock", "options.url"), here | {"Name": "far"}) == ["runsc", "kata", "krun"]


def test_gvisor() -> None:
    """What gVisor lacks depends on the arguments that the daemon gives to it."""
    limits = {Capability.MEMORY_LIMIT, Capability.CPU_LIMIT, Capability.PIDS_LIMIT, Capability.SWAP_LIMIT}
    networks = {Capability.NETWORK, Capability.NETWORK_NAMED, Capability.PORTS}
    profiles = {Capability.SECCOMP, Capability.SECCOMP_PROFILE, Capability.APPARMOR, *USUAL}
    bare = {"path": "/usr/bin/runsc", "runtimeArgs": ["--platform=systrap", "--ignore-cgroups", "-network=none"]}

    files = {Capability.SNAPSHOT, Capability.PERSISTENT}
    assert profiles | files == set(info("runsc").missing)
    layered = {"path": "/usr/bin/runsc", "runtimeArgs": ["--overlay2=none"]}
    assert profiles == set(info("runsc", Runtimes={"runsc": layered}).missing)
    assert profiles | files | limits | networks == set(info("runsc", Runtimes={"runsc": bare}).missing)


def test_windows() -> None:
    """A daemon with Windows containers is none that can be used."""
    with pytest.raises(EngineUnavailableError) as caught:
        info(OSType="windows")

    assert (
        "no Docker daemon can be used at unix:///d.sock (options.url): its containers are those of windows. Switch the "
        "daemon to Linux containers."
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("commit", "runtime", "expected"),
    [
        ("1.1.5+ds1-1+deb12u1", None, True),
        ("1.1.8", "runc", True),
        ("v1.1.9-0-gccaecfc", None, False),
        ("v1.2.5-0-g59923ef", None, False),
        ("1.1.5", "crun", False),
        ("N/A", None, False),
    ],
)
def test_old_runc(commit: str, runtime: str | None, expected: bool) -> None:  # noqa: FBT001
    """A runc before 1.1.9 hides the modes of memory file systems."""
    assert expected == hides_tmpfs_modes(ORDINARY | {"RuncCommit": {"ID": commit}}, runtime)


def test_probe(engine: DockerEngine, url: str) -> None:
    """A real daemon is asked once for each engine object."""
    found = engine.probe()

    assert (url, "docker") == (found.address, found.name)
    assert found.version
    assert found is engine.probe()


def test_import_without_docker_py() -> None:
    """Registering the engine imports neither docker-py nor its HTTP client."""
    script = (
        "import sys, samebox_docker.plugin as plugin\n"
        "plugin.samebox_register_engine()({'url': 'tcp://127.0.0.1:1'})\n"
        "print([name for name in ('docker', 'requests', 'urllib3') if name in sys.modules])\n"
    )

    assert "[]\n" == printed(script)
