"""Ports, limits, security and devices, by Docker's inspect or from inside; contradictions are refused."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from samebox.config.model import SandboxConfig
from samebox.engine.oci.default_profile import default_profile_text
from samebox.errors import ConfigError, EngineError, UnsupportedError
from samebox_docker.container import container_body
from samebox_docker.settings import check_capabilities, check_settings, host_settings, security_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox
    from samebox_docker.engine import DockerEngine


def test_ports(make: Callable[..., Sandbox], engine: DockerEngine, raw: Any) -> None:
    """Ports are bound at the address that was asked for, loopback by default, udp as well."""
    with make(ports={"80": None, "53/udp": "127.0.0.2:"}, network=True) as box:
        web, names = engine.host_port(box.id, "80/tcp"), engine.host_port(box.id, "53/udp")
        bound = raw.inspect_container(box.id)["NetworkSettings"]["Ports"]
        with pytest.raises(EngineError, match=r"port 81/tcp .* not published; published are: 53/udp, 80/tcp"):
            engine.host_port(box.id, "81/tcp")

    assert ("127.0.0.1", "127.0.0.2") == (web.address, names.address)
    assert web.port is not None
    assert [{"HostIp": "127.0.0.1", "HostPort": str(web.port)}] == bound["80/tcp"]
    assert [{"HostIp": "127.0.0.2", "HostPort": str(names.port)}] == bound["53/udp"]


def test_ports_without_network() -> None:
    """Docker drops ports silently where there is no network of the sandbox's own."""
    with pytest.raises(ConfigError, match=r"^wrong config: ports: nothing is published with network="):
        check_settings(SandboxConfig(ports={80: None}, network="host"))


def test_names_and_limits(make: Callable[..., Sandbox], raw: Any) -> None:
    """Name servers, host names, limits and the size of shared memory arrive as they were asked for."""
    settings: dict[str, Any] = {
        "dns": ["192.0.2.53"],
        "extra_hosts": {"a.example": "192.0.2.1", "b.example": "2001:db8::1"},
        "ulimits": {"nofile": (256, 512)},
        "shm_size": "3m",
    }
    with make(**settings, network=True) as box:
        host = raw.inspect_container(box.id)["HostConfig"]
        hosts = box.read_text("/etc/hosts")
        shm = box.sh("df -k /dev/shm | tail -n 1").text.split()

    assert ["192.0.2.53"] == host["Dns"]
    assert [{"Name": "nofile", "Hard": 512, "Soft": 256}] == host["Ulimits"]
    assert re.search(r"^192\.0\.2\.1\s+a\.example$", hosts, re.MULTILINE)
    assert re.search(r"^2001:db8::1\s+b\.example$", hosts, re.MULTILINE)
    assert "3072" == shm[1]


@pytest.mark.usefixtures("limits")
def test_swap(make: Callable[..., Sandbox], raw: Any) -> None:
    """Memory and swap together are what was asked for, else as much as the memory."""
    found = []
    for settings in ({}, {"memory_swap": "96m"}):
        with make(memory="64m", **settings) as box:
            found.append(raw.inspect_container(box.id)["HostConfig"]["MemorySwap"])

    assert [64 << 20, 96 << 20] == found


def test_devices(make: Callable[..., Sandbox], raw: Any) -> None:
    """A device has the path and the permissions that were asked for."""
    with make(devices=["/dev/full:/dev/other-full:r"]) as box:
        result = box.sh("head -c 1 /dev/other-full | wc -c")
        devices = raw.inspect_container(box.id)["HostConfig"]["Devices"]

    assert "1" == result.text.strip()
    assert [{"PathOnHost": "/dev/full", "PathInContainer": "/dev/other-full", "CgroupPermissions": "r"}] == devices


def test_words_of_the_api() -> None:
    """What can't be had on every host is at least in Docker's words."""
    config = SandboxConfig(gpus=["0", "GPU-1"], disk="1g", userns="host", privileged=True)
    host = host_settings(config)
    body = container_body(
        config, image="i", labels={}, mounts=[], binds=[], tmpfs={}, missing=(), runtime=None, workdir="/"
    )

    assert [{"DeviceIDs": ["0", "GPU-1"], "Capabilities": [["gpu"]]}] == host["DeviceRequests"]
    assert [{"Count": -1, "Capabilities": [["gpu"]]}] == host_settings(SandboxConfig(gpus=["all"]))["DeviceRequests"]
    assert ({"size": str(1 << 30)}, "host", True) == (host["StorageOpt"], host["UsernsMode"], host["Privileged"])
    assert [] == body["HostConfig"]["CapDrop"]
    assert {} == host_settings(SandboxConfig())


@pytest.mark.parametrize("user", ["1000", "nobody", "1000:0", "00001"])
def test_capabilities_without_effect_are_refused(user: str) -> None:
    """Docker has no ambient capabilities; without `cap_add` any user is fine, and root with it."""
    why = f"Docker gives capabilities to root alone, and the user is {user}; leave out cap_add"
    with pytest.raises(UnsupportedError, match=why):
        check_settings(SandboxConfig(cap_add=["CHOWN"], user=user))
    with pytest.raises(UnsupportedError, match=why):
        check_capabilities(SandboxConfig(cap_add=["CHOWN"]), user)
    check_settings(SandboxConfig(user=user))
    for root in (None, "", "0", "root", "root:1000", "00"):
        check_capabilities(SandboxConfig(cap_add=["CHOWN"]), root)


def test_security_options(tmp_path: Path) -> None:
    """A profile is sent by its content; all else in its own words."""
    profile = {"defaultAction": "SCMP_ACT_ALLOW"}
    (tmp_path / "p.json").write_text(json.dumps(profile, indent=4))
    options = [f"seccomp={tmp_path}/p.json", "apparmor=unconfined", "label=type:x_t"]
    found = security_options(SandboxConfig(security_opt=options, no_new_privileges=False))

    assert [f"seccomp={json.dumps(profile)}", *options[1:]] == found
    own = f"seccomp={default_profile_text(lasting=False)}"
    assert ["no-new-privileges:true", own] == security_options(SandboxConfig())
    lasting = f"seccomp={default_profile_text(lasting=True)}"
    assert ["no-new-privileges:true", lasting] == security_options(SandboxConfig(mounts=["/tmp:/tmp"]))
    assert ["no-new-privileges:true", own] == security_options(SandboxConfig(mounts=["/tmp:/tmp:ro"]))
    assert ["no-new-privileges:true"] == security_options(SandboxConfig(), seccomp=False)
    assert ["no-new-privileges:true"] == security_options(SandboxConfig(privileged=True))
    assert ["no-new-privileges:true", "seccomp=unconfined"] == security_options(
        SandboxConfig(security_opt=["seccomp=unconfined"])
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "No such file"), ("{", "it is no JSON"), ("[]", "it has no defaultAction"), ("{}", "no defaultAction")],
)
def test_wrong_profile(tmp_path: Path, text: str | None, why: str) -> None:
    """A profile that can't be read, or is none, is refused by its path."""
    path = tmp_path / "p.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^wrong config: security_opt = 'seccomp={re.escape(str(path))}': .*{why}"):
        check_settings(SandboxConfig(security_opt=[f"seccomp={path}"]))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"privileged": True, "cap_drop": ["CHOWN"]}, "give one of cap_drop and privileged"),
        ({"userns": "keep-id"}, "is not 'host'"),
    ],
    ids=str,
)
def test_refused(settings: dict[str, Any], why: str) -> None:
    """What Docker would ignore is refused."""
    with pytest.raises(UnsupportedError, match=why):
        check_settings(SandboxConfig(**settings))


def test_privileged_with_profile(tmp_path: Path) -> None:
    """A privileged container would run without the profile that was asked for."""
    (tmp_path / "p.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    with pytest.raises(UnsupportedError, match="no filter, whatever the profile"):
        check_settings(SandboxConfig(privileged=True, security_opt=[f"seccomp={tmp_path}/p.json"]))
    check_settings(SandboxConfig(privileged=True, security_opt=["seccomp=unconfined"]))
