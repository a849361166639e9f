"""What a host lacks, as `info` tells it: limits above all, which Podman accepts and ignores where it can't set them."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability, Isolation
from samebox.errors import ConfigError
from samebox_podman.engine import PodmanEngine
from samebox_podman.gpus import no_gpus
from samebox_podman.host import PodmanHost, no_quota, version_numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox.engine import EngineInfo

LIMITS = {Capability.MEMORY_LIMIT, Capability.SWAP_LIMIT, Capability.CPU_LIMIT, Capability.PIDS_LIMIT}
NOT_EVERYWHERE = {Capability.APPARMOR, Capability.SELINUX, Capability.GPUS, Capability.DISK_LIMIT}
SECURITY = {"rootless": False, "seccompEnabled": True, "apparmorEnabled": True, "selinuxEnabled": True}
NO_DISK = {
    Capability.DISK_LIMIT: "rootless Podman can't limit the size of a container's files: "
    "quotas of a file system are root's to set"
}


@pytest.fixture(autouse=True)
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where this host describes its one GPU."""
    place = tmp_path / "cdi"
    place.mkdir()
    (place / "nvidia.yaml").write_text("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices: []\n")
    monkeypatch.setattr("samebox_podman.gpus.PLACES", (tmp_path / "none", place))
    return place


def missing(fake: Any, **host: Any) -> dict[Capability, str]:
    """Return what a host lacks that differs in this from one that lacks nothing."""
    fake.answers["GET /info"][1]["host"].update(host)
    with contextlib.closing(PodmanEngine({"url": fake.url})) as engine:
        return dict(engine.probe().missing)


def rootless(**more: Any) -> dict[str, Any]:
    """Return what `info` tells of a rootless host."""
    helper = {"executable": "/usr/bin/pasta"}
    return {"security": {**SECURITY, "rootless": True}, "pasta": helper, "cgroupManager": "systemd", **more}


def test_a_host_that_lacks_nothing(fake: Any) -> None:
    """Rootful, or rootless with everything delegated."""
    assert missing(fake) == {}
    with contextlib.closing(PodmanEngine({"url": fake.url})) as engine:
        info = engine.probe()
    assert (info.isolation, info.rootless, info.version) == (Isolation.CONTAINER, False, "5.8.2")


def test_rootless_with_everything(fake: Any) -> None:
    """Its isolation is the higher tier."""
    assert missing(fake, **rootless()) == NO_DISK
    with contextlib.closing(PodmanEngine({"url": fake.url})) as engine:
        assert engine.probe().isolation is Isolation.ROOTLESS


def test_rootless_on_cgroup_v1(fake: Any) -> None:
    """Podman drops all limits there, with a warning or none."""
    found = missing(fake, **rootless(cgroupVersion="v1", cgroupControllers=[]))
    assert found.keys() == LIMITS | NO_DISK.keys()
    for limit in LIMITS:
        assert found[limit] == (
            "rootless Podman can set no limits on cgroup v1; boot its host with cgroup v2 "
            "(systemd.unified_cgroup_hierarchy=1), or use a rootful Podman"
        )


def test_rootless_without_delegation_of_cpu(fake: Any) -> None:
    """The default of many distributions: memory and pids alone."""
    found = missing(fake, **rootless(cgroupControllers=["memory", "pids"]))
    assert found == NO_DISK | {
        Capability.CPU_LIMIT: "the cgroup controller 'cpu' is not delegated to the user of rootless Podman; delegate "
        "it with a drop-in for user@.service: [Service] Delegate=cpu cpuset io memory pids"
    }


def test_rootless_without_a_session(fake: Any) -> None:
    """With the cgroupfs manager a user may make no cgroup."""
    found = missing(fake, **rootless(cgroupManager="cgroupfs"))
    assert found.keys() == LIMITS | NO_DISK.keys()
    assert "`loginctl enable-linger` it" in found[Capability.PIDS_LIMIT]


def test_rootful_without_the_memory_controller(fake: Any) -> None:
    """As with cgroup_disable=memory, the default of the Raspberry Pi."""
    found = missing(fake, cgroupControllers=["cpu", "pids"])
    reason = "the kernel of Podman's host has no cgroup controller 'memory'"
    assert found == {Capability.MEMORY_LIMIT: reason, Capability.SWAP_LIMIT: reason}


def test_no_seccomp(fake: Any) -> None:
    """It is a default of every sandbox, so that its absence has to show."""
    said = "this Podman was built without seccomp"
    assert said in missing(fake, security=SECURITY | {"seccompEnabled": False})[Capability.SECCOMP]


def test_podmans_own_profile_does_not_matter(fake: Any) -> None:
    """Each sandbox has samebox's."""
    assert Capability.SECCOMP not in missing(fake, security=SECURITY | {"seccompProfilePath": "unconfined"})


def test_rootless_without_a_helper_for_its_network(fake: Any) -> None:
    """Only network=True needs one."""
    found = missing(fake, **rootless(pasta={"executable": ""}, slirp4netns={"executable": ""}))
    reason = "a rootless network needs slirp4netns or pasta on the host of Podman; install one of them"
    assert found == NO_DISK | {Capability.NETWORK: reason, Capability.PORTS: reason}


@pytest.mark.parametrize(
    ("field", "capability", "said"),
    [("apparmorEnabled", Capability.APPARMOR, "AppArmor is not"), ("selinuxEnabled", Capability.SELINUX, "no SELinux")],
)
def test_no_labels(fake: Any, field: str, capability: Capability, said: str) -> None:
    """Podman takes `unconfined` and any label, and does nothing with it."""
    (found,) = missing(fake, security=SECURITY | {field: False}).items()
    assert found[0] is capability
    assert said in found[1]


@pytest.mark.parametrize(
    ("driver", "backing", "said"),
    [
        ("vfs", "xfs", "storage driver 'vfs' can't limit"),
        ("overlay", "extfs", "only on xfs with the mount option pquota, and the service's files are on extfs"),
        ("overlay", "xfs", None),
        ("zfs", "", None),
    ],
)
def test_quotas(driver: str, backing: str, said: str | None) -> None:
    """Whether xfs has pquota, a creation tells."""
    store = {"graphDriverName": driver, "graphStatus": {"Backing Filesystem": backing}}
    found = no_quota(store, rootless=False)
    assert (found or "").count(said or "never said") == (said is not None)
    assert "root's to set" in str(no_quota(store, rootless=True))


@pytest.mark.parametrize("text", ["kind: vendor.com/net", '{"kind": "vendor.com/gpus"}', None])
def test_no_gpus(fake: Any, gpus: Path, text: str | None) -> None:
    """What other devices are described is no matter; where this host's files are not the service's, it is tried."""
    (gpus / "nvidia.yaml").unlink()
    if text is not None:
        (gpus / "other.json").write_text(text)
    assert "`nvidia-ctk cdi generate" in missing(fake)[Capability.GPUS]
    (gpus / "gpus.json").write_text('{"cdiVersion": "0.5.0", "kind": "amd.com/gpu"}')
    assert missing(fake) == {}
    assert no_gpus("ssh") is None


def test_versions() -> None:
    """Distributions append to them."""
    assert version_numbers("5.8.2-rhel") == (5, 8, 2)
    assert version_numbers("4.3.1+ds1") == (4, 3, 1)
    assert version_numbers("6.0.0-dev") < (6, 1)


@pytest.mark.parametrize(
    ("own", "version", "asked", "hides"),
    [
        ("runc", "runc version 1.1.5+ds1\ncommit: 9.9.9", None, True),
        ("runc", "runc version 1.1.9", None, False),
        ("runc", "runc version 1.1.9", "/usr/bin/runc", False),
        ("crun", "crun version 1.8.1", None, False),
        ("crun", "crun version 1.8.1", "runc", True),
        ("runc", "runc version 1.1.5", "crun", False),
    ],
)
def test_a_runtime_that_hides_modes(own: str, version: str, asked: str | None, hides: bool) -> None:  # noqa: FBT001
    """Debian 12's runc is one."""
    host = PodmanHost(info={"host": {"ociRuntime": {"name": own, "version": version}}})
    assert host.hides_modes(asked) is hides


RUNTIMES = {
    "crun": {"path": "/usr/bin/crun"},
    "kata": {"path": "/usr/bin/kata-runtime"},
    "krun": {"path": "/no/such/krun"},
    "runsc": {"path": "/usr/bin/runsc"},
}


@pytest.fixture
def tiers(fake: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Any], EngineInfo]]:
    """Return what tells the stronger runtimes and the facts of a service, by its version, runtime and host."""

    def tiers(version: str, own: str, hostname: str = "elsewhere", **options: Any) -> tuple[list[Any], EngineInfo]:
        info = fake.answers["GET /info"][1]
        info["version"]["Version"] = version
        info["host"] |= {"hostname": hostname, "ociRuntime": {"name": own, "path": f"/usr/bin/{own}"}}
        fake.answers["GET /_ping"] = (200, "OK", {"Libpod-Api-Version": version})
        fake.answers["GET /compat/info"] = (200, {"Runtimes": RUNTIMES})
        monkeypatch.setattr("samebox_podman.host._HOSTS", {})
        with contextlib.closing(PodmanEngine({"url": fake.url, **options})) as engine:
            return [each["runtime"] for each in engine.stronger()], engine.probe()

    return tiers


def test_stronger_runtimes(tiers: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API that is Docker's names what is configured; of a service on this host it is seen what is there."""
    assert tiers("6.0.0", "crun")[0] == ["runsc", "kata", "krun"]
    assert tiers("6.0.0", "runsc")[0] == ["kata", "krun"]
    assert tiers("6.0.0", "crun", runtime="runc")[0] == []
    (tmp_path / "runsc").write_text("#!/bin/sh\n")
    (tmp_path / "runsc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tiers("6.0.0", "crun", socket.gethostname())[0] == ["runsc"]


@pytest.mark.parametrize(
    ("own", "runtime", "isolation"),
    [
        ("crun", None, Isolation.CONTAINER),
        ("crun", "/usr/bin/crun", Isolation.CONTAINER),
        ("crun", "kata-qemu", Isolation.VM),
        ("crun", "/opt/bin/runsc", Isolation.USER_KERNEL),
        ("krun", None, Isolation.VM),
        ("runsc", None, Isolation.USER_KERNEL),
    ],
)
def test_tier(tiers: Callable[..., Any], own: str, runtime: str | None, isolation: Isolation) -> None:
    """The runtime decides how strong the wall is."""
    info = tiers("6.0.0", own, **({"runtime": runtime} if runtime else {}))[1]
    assert info.isolation is isolation
    assert info.details["runtime"] == (runtime if runtime not in {None, "/usr/bin/crun"} else own)
    lost = {Capability.SECCOMP, Capability.MEMORY_LIMIT, Capability.PIDS_LIMIT, Capability.PERSISTENT}
    assert (info.missing.keys() & lost) == (lost if isolation is Isolation.USER_KERNEL else set())


def test_a_runtime_that_the_service_would_ignore(tiers: Callable[..., Any]) -> None:
    """Before 6.0; its own is none such."""
    assert tiers("5.8.2", "runsc", runtime="runsc")[1].isolation is Isolation.USER_KERNEL
    with pytest.raises(ConfigError) as caught:
        tiers("5.8.2", "crun", runtime="runsc")
    assert "runtime = 'runsc': Podman 5.8.2 at unix:" in str(caught.value)
    assert str(caught.value).endswith(
        " makes every container with its own runtime, 'crun'; Podman takes one from a request since 6.0. Start a "
        "service with it (`podman --runtime runsc system service`), or name no service, and samebox starts one"
    )


def test_a_real_service(engine: PodmanEngine, url: str) -> None:
    """What the tests below rely on."""
    info = engine.probe()
    assert info.name == "podman"
    assert info.address == url
    assert info.details["found by"] == "options.url"
    assert info.details["runtime"]
    assert info.rootless == (info.isolation is Isolation.ROOTLESS)
    assert info.missing.keys() <= LIMITS | NOT_EVERYWHERE
