"""Ports, limits, devices, privileges and user namespaces, by Podman's inspect or from inside; contradictions."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.errors import ConfigError, EngineError, UnsupportedError
from samebox_podman.client import PodmanClient
from samebox_podman.settings import UNLIMITED, check_settings, network_mode, settings_compared, settings_spec
from samebox_podman.spec import differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox
    from samebox_podman.engine import PodmanEngine


def spec(**settings: Any) -> dict[str, Any]:
    """Return the request's part for settings."""
    return settings_spec(SandboxConfig(**settings), {})


def wrong(asked: dict[str, Any], **found: Any) -> list[str]:
    """Return what differs between a request's part and what inspect tells."""
    inspected = {"HostConfig": found.pop("host", {}), **found}
    return [
        what
        for what, wanted, has, same in settings_compared(asked, inspected)
        if not (same(wanted, has) if same else wanted == has)
    ]


def test_nothing_asked_for() -> None:
    """A plain sandbox has a plain request."""
    assert spec() == {}
    assert wrong({}) == []


def test_ports(make: Callable[..., Sandbox], engine: PodmanEngine) -> None:
    """Ports are bound at the address that was asked for, loopback by default, udp as well."""
    with make(ports={"80": None, "53/udp": "127.0.0.2:"}, network=True) as box:
        web, names = engine.host_port(box.id, "80/tcp"), engine.host_port(box.id, "53/udp")
        with pytest.raises(EngineError, match=r"port 81/tcp .* not published; published are: 53/udp, 80/tcp"):
            engine.host_port(box.id, "81/tcp")
        engine.stop(box.id)
        with pytest.raises(EngineError, match=r"port 80/tcp .* is not open: the sandbox does not run"):
            engine.host_port(box.id, "80/tcp")

    assert (web.address, names.address) == ("127.0.0.1", "127.0.0.2")
    assert web.port
    assert names.port


def test_a_port_of_the_host_by_number(make: Callable[..., Sandbox], engine: PodmanEngine) -> None:
    """One that is taken is an error, and the sandbox is removed."""
    with make(ports={80: None}, network=True) as box:
        port = engine.host_port(box.id, "80/tcp").port
        second = make(ports={80: port}, network=True)
        with pytest.raises(EngineError, match=r"(?is)could not start the sandbox .*address already in use"):
            second.start()
        assert [status.id for status in engine.list() if status.name == box.name] == [box.id]


@pytest.mark.parametrize("network", ["host", "container:other", "ns:x"])
def test_ports_without_network(network: str) -> None:
    """Podman drops ports silently where there is no network of the sandbox's own."""
    with pytest.raises(ConfigError, match=r"^wrong config: ports: nothing is published with network="):
        check_settings(SandboxConfig(ports={80: None}, network=network), rootless=False)


@pytest.mark.parametrize("network", [False, True])
def test_low_ports(make: Callable[..., Sandbox], network: bool) -> None:  # noqa: FBT001
    """Any user may bind them, as on Docker: they are those of the sandbox alone."""
    with make(user="65534:65534", network=network) as box:
        box.exec(["busybox", "httpd", "-p", "80"]).check()
        box.wait_for_port(80, 10)


def test_network_modes() -> None:
    """What is no mode is a network's name."""
    modes: dict[bool | str, str] = {
        False: "none",
        True: "private",
        "container": "bridge",
        "container:x": "container",
        "ns:y": "ns",
    }
    modes |= {"mine": "bridge", "pasta:-t,80": "pasta", "bridge": "bridge"}
    for network, mode in modes.items():
        assert network_mode(network) == mode


def test_names_of_another_containers_network() -> None:
    """Its /etc/resolv.conf and /etc/hosts are the other container's, whatever was asked for."""
    for setting in ({"dns": ["192.0.2.1"]}, {"extra_hosts": {"a": "192.0.2.1"}}):
        with pytest.raises(ConfigError, match="they are the other container's"):
            check_settings(SandboxConfig(**setting, network="container:x"), rootless=False)


def test_names(make: Callable[..., Sandbox]) -> None:
    """Host names are known without a network as well, of both kinds of addresses."""
    hosts = {"a.example": "192.0.2.1", "b.example": "2001:db8::1"}
    with make(extra_hosts=hosts, hostname="my-box") as box:
        lines = [line.split() for line in box.read_text("/etc/hosts").splitlines()]
    for name, address in hosts.items():
        assert [address, name] in lines
    with make(dns=["192.0.2.53", "2001:db8::53"], network=True) as box:
        servers = [line.split()[1] for line in box.read_text("/etc/resolv.conf").splitlines() if "nameserver" in line]
    assert servers == ["192.0.2.53", "2001:db8::53"]


def test_ulimits(make: Callable[..., Sandbox]) -> None:
    """What is not asked for stays as it is without any; Podman would raise it to 1048576, or fail to."""
    script = "ulimit -n; ulimit -u; ulimit -Sc; ulimit -Hc; ulimit -f"
    with make() as box:
        files, processes, *_ = box.sh(script).text.split()
    with make(ulimits={"core": (1024, -1), "fsize": -1}) as box:
        assert box.sh(script).text.split() == [files, processes, "2", "unlimited", "unlimited"]
    with make(ulimits={"nofile": (100, 200)}) as box:
        assert box.sh(script).text.split()[:2] == ["100", processes]
    assert spec(ulimits={"core": -1})["r_limits"] == [{"type": "core", "soft": UNLIMITED, "hard": UNLIMITED}]


def test_shared_memory(make: Callable[..., Sandbox]) -> None:
    """Its size is what was asked for under a read-only root as well; two words for it are a mistake."""
    for read_only in (False, True):
        with make(shm_size="3m", read_only=read_only) as box:
            assert box.sh("df -k /dev/shm | tail -n 1").text.split()[1] == "3072"
    with pytest.raises(ConfigError, match="shm_size and tmpfs at /dev/shm both say"):
        check_settings(SandboxConfig(shm_size="3m", tmpfs=["/dev/shm"]), rootless=False)


def test_swap(make: Callable[..., Sandbox], engine: PodmanEngine) -> None:
    """Memory and swap together are what was asked for, else as much as the memory; or refused."""
    if Capability.SWAP_LIMIT in (missing := engine.probe().missing):
        with pytest.raises(UnsupportedError, match=re.escape(missing[Capability.SWAP_LIMIT])):
            make(memory="64m", memory_swap="96m").start()
        return
    for more, both in ({}, 64 << 20), ({"memory_swap": "96m"}, 96 << 20):
        with make(memory="64m", **more) as box:
            host = engine.client.json(f"/containers/{box.id}/json")["HostConfig"]
            assert host["MemorySwap"] == both


@pytest.mark.parametrize("url", ["rootful"], indirect=True)
def test_a_kernel_without_swap_accounting(engine: PodmanEngine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the memory can't be limited there, and Podman only warns; nothing is left."""
    ask = engine.client.json

    def forget(path: str, *arguments: Any, **settings: Any) -> Any:
        found = ask(path, *arguments, **settings)
        if path.startswith("/containers/") and isinstance(found, dict) and "HostConfig" in found:
            found["HostConfig"]["MemorySwap"] = 0
        return found

    monkeypatch.setattr(engine.client, "json", forget)
    config = SandboxConfig(memory="64m", memory_swap="96m")
    image = engine.ensure_image(SandboxConfig(image="localhost/samebox-busybox"), print)
    with pytest.raises(UnsupportedError, match=r"'swap-limit'|swap-limit.*memory and swap: asked for"):
        engine.create(config, image=image, name=name, labels={})
    assert name not in {status.name for status in engine.list()}


def test_devices(make: Callable[..., Sandbox], engine: PodmanEngine) -> None:
    """A device has the path and the permissions that were asked for; rootless Podman has none to give."""
    script = "head -c 1 /dev/other | wc -c; exec 3>/dev/other && echo writable"
    with make(devices=["/dev/full:/dev/other"]) as box:
        assert box.sh(script).text.split() == ["1", "writable"]
    box = make(devices=["/dev/loop-control:/dev/other:r"])
    if engine.probe().rootless:
        with pytest.raises(UnsupportedError, match=r"rootless Podman can't keep to 'r' for /dev/loop-control"):
            box.start()
        return
    with box:
        result = box.sh("exec 3</dev/other && echo readable; exec 3<>/dev/other && echo writable")
        assert (result.text, b"not permitted" in result.stderr) == ("readable\n", True)


def test_privileged(make: Callable[..., Sandbox], tmp_path: Path) -> None:
    """No filter but one that is asked for, the host's devices, and all the capabilities that there are."""
    (tmp_path / "p.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    status = "grep -E '^(CapEff|CapBnd|Seccomp):' /proc/self/status"
    with make(privileged=True) as box:
        effective, bounding, seccomp = (line.split()[1] for line in box.sh(status).text.splitlines())
        assert (effective, seccomp) == (bounding, "0")
        assert int(effective, 16) >> 21 & 1
        assert box.exists("/dev/kmsg")
    with make(privileged=True, security_opt=[f"seccomp={tmp_path}/p.json"]) as box:
        assert box.sh(status).text.endswith("Seccomp:\t2\n")


def test_all_capabilities(make: Callable[..., Sandbox]) -> None:
    """As on Docker, though all are dropped by default, which Podman says does not go together."""
    with make(cap_add=["ALL"], cap_drop=["NET_RAW"]) as box:
        bounding = int(box.sh("grep ^CapBnd /proc/self/status").text.split()[1], 16)
        assert (bounding >> 21 & 1, bounding >> 13 & 1) == (1, 0)
    with make(cap_add=["ALL"]) as box:
        assert int(box.sh("grep ^CapBnd /proc/self/status").text.split()[1], 16) >> 13 & 1


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"privileged": True, "cap_drop": ["CHOWN"]}, "give one of cap_drop and privileged"),
        ({"privileged": True, "devices": ["/dev/null:/dev/x"]}, "by their own names and not /dev/x"),
        ({"userns": "keep-id"}, "of rootless Podman alone"),
        ({"userns": "nomap"}, "of rootless Podman alone"),
        ({"userns": "private"}, "none of the modes"),
        ({"userns": "auto:uidmapping=0,1,2"}, "it has auto:size=NUMBER"),
    ],
    ids=str,
)
def test_refused(settings: dict[str, Any], why: str) -> None:
    """What Podman would ignore is refused."""
    with pytest.raises(UnsupportedError, match=why):
        check_settings(SandboxConfig(**settings), rootless=False)


@pytest.mark.parametrize("user", [None, "0", "5:6"])
@pytest.mark.parametrize("userns", ["keep-id", "keep-id:uid=1000,gid=1000", "auto:size=2000"])
def test_user_namespaces(make: Callable[..., Sandbox], engine: PodmanEngine, userns: str, user: str | None) -> None:
    """The mapping is another one, and the workdir the user's: 4.3 gives what it makes there to somebody else."""
    if not engine.probe().rootless:
        with pytest.raises(UnsupportedError, match=r"of rootless Podman alone|ids in /etc/subuid"):
            make(userns=userns, user=user).start()
        return
    with make() as plain:
        usual = plain.read_text("/proc/self/uid_map").split()
    deadline = time.monotonic() + 30
    while True:
        try:
            box = make(userns=userns, user=user).start()
            break
        except UnsupportedError:  # `keep-id` in a test beside this one takes all the ids there are
            if not userns.startswith("auto") or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    with box:
        assert box.read_text("/proc/self/uid_map").split() != usual
        uid = box.sh("id -u").text.strip()
        expected = {"keep-id": None, "auto:size=2000": "0"}.get(userns, "1000") if user is None else user.split(":")[0]
        assert expected in {uid, None}
        assert (uid != "0") == (expected != "0")
        box.write_text("file", "x")
        assert box.sh("stat -c %u . file").text.split() == [uid, uid]


@pytest.mark.parametrize("url", ["rootless"], indirect=True)
def test_keep_id_is_the_services_user(make: Callable[..., Sandbox], tmp_path: Path) -> None:
    """What is written to a directory of the host is that user's there, which is what the mode is for."""
    for parent in reversed(tmp_path.parents[:3]):
        parent.chmod(0o755)
    tmp_path.chmod(0o777)
    with make(userns="keep-id", mounts=[f"{tmp_path}:/mnt"]) as box:
        box.write_text("/mnt/file", "x")
        service = int(box.sh("id -u").text)
    assert (tmp_path / "file").stat().st_uid == service


@pytest.fixture
def carriers(client: PodmanClient, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """Return what tells the statuses of asking for each profile's container and its volume, in turn."""
    seen: list[str] = []
    ask = PodmanClient.json

    def spy(self: PodmanClient, path: str, *arguments: Any, **settings: Any) -> Any:
        found = ask(self, path, *arguments, **settings)
        if isinstance(found, dict) and str(found.get("Name")).startswith("samebox-seccomp-"):
            seen.extend((f"/containers/{found['Id']}/json", f"/volumes/{found['Mounts'][0]['Name']}/json"))
        return found

    monkeypatch.setattr(PodmanClient, "json", spy)
    return lambda: [client.call("get", path, accept=(404,)).status_code for path in seen]


def test_seccomp_leaves_nothing(
    make: Callable[..., Sandbox], tmp_path: Path, carriers: Callable[[], list[int]]
) -> None:
    """The profile is read from a file that only this user may read, and kept over a restart."""
    tmp_path.chmod(0o700)
    rule = {"names": ["mknod", "mknodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    (tmp_path / "p.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    with make(security_opt=[f"seccomp={tmp_path}/p.json"]) as box:
        assert carriers() == [404, 404]
        assert b"not permitted" in box.sh("mkfifo x").stderr
        engine = box.engine
        assert engine is not None
        engine.stop(box.id)
        engine.start(box.id)
        with make(name=box.name) as again:
            assert b"not permitted" in again.sh("mkfifo x").stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "No such file"), ("{", "it is no JSON"), ("[]", "it has no defaultAction"), ("{}", "no defaultAction")],
)
def test_wrong_profile(engine: PodmanEngine, tmp_path: Path, text: str | None, why: str) -> None:
    """A profile that can't be read, or is none, is refused by its path, before the image is looked for."""
    path = tmp_path / "p.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^wrong config: security_opt = 'seccomp={re.escape(str(path))}': .*{why}"):
        engine.ensure_image(SandboxConfig(image="no-such-image", security_opt=[f"seccomp={path}"]), print)


def test_a_profile_that_podman_refuses(
    make: Callable[..., Sandbox], tmp_path: Path, carriers: Callable[[], list[int]]
) -> None:
    """Its words are in the error, and nothing is left."""
    # Now and then its monitor has died of the profile before Podman has handed over the rest.
    words = "SCMP_ACT_NONSENSE|passing bulk input to subprocess"
    (tmp_path / "p.json").write_text('{"defaultAction": "SCMP_ACT_NONSENSE"}')
    with pytest.raises(EngineError, match=words):
        make(security_opt=[f"seccomp={tmp_path}/p.json"]).start()
    assert carriers() == [404, 404]


def test_words_of_the_api() -> None:
    """What can't be had on every host is at least in Podman's words."""
    found = spec(gpus=["0", "amd.com/gpu=all"], disk="1g", devices=["/dev/fuse"], userns="auto")
    assert [each["path"] for each in found["devices"]] == [
        "/dev/fuse:/dev/fuse:rwm",
        "nvidia.com/gpu=0",
        "amd.com/gpu=all",
    ]
    assert found["storage_opts"] == {"size": str(1 << 30)}
    assert found["idmappings"] == {"AutoUserNs": True, "AutoUserNsOpts": {"Size": 0}}
    assert spec(userns="container:x")["userns"] == {"nsmode": "container", "value": "x"}
    assert spec(security_opt=["apparmor=mine", "label=disable"]) == {
        "apparmor_profile": "mine",
        "selinux_opts": ["disable"],
    }


def test_lost_settings_are_seen() -> None:
    """Each that inspect shows, where Podman lost it."""
    asked = spec(
        network=True,
        ports={80: 8080, 81: None},
        dns=["192.0.2.1"],
        extra_hosts={"a": "192.0.2.1"},
        ulimits={"core": 0},
        shm_size="1m",
        userns="keep-id",
        security_opt=["apparmor=mine", "label=type:x_t", "label=level:s0:c1"],
    )
    assert wrong(asked) == [
        "ports",
        "dns",
        "extra_hosts",
        "shm_size",
        "ulimits",
        "apparmor",
        "SELinux type",
        "SELinux level",
        "userns",
    ]
    host = {
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
        "Dns": ["192.0.2.1"],
        "ExtraHosts": ["a:192.0.2.1"],
        "ShmSize": 1 << 20,
        "Ulimits": [{"Name": "RLIMIT_CORE", "Soft": 0, "Hard": 0}],
        "IDMappings": {"UidMap": ["0:1:10"]},
        "UsernsMode": "private",
    }
    found = {"AppArmorProfile": "mine", "ProcessLabel": "u:r:x_t:s0:c1"}
    assert wrong(asked, host=host, **found) == ["ports"]
    host["PortBindings"] |= {"81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "40000"}]}  # type: ignore[operator]
    assert wrong(asked, host=host, **found) == []
    assert wrong({"selinux_opts": ["disable"]}, ProcessLabel="u:r:x_t:s0") == ["SELinux label"]
    assert wrong(spec(userns="host"), host={"UsernsMode": "private"}) == ["userns"]
    assert wrong(spec(userns="host")) == []


def test_what_a_host_can_not_give(make: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """A service in a container of its own has not got every capability, and drops what it has not without a word."""

    def lost(asked: Any, found: Any) -> dict[str, str]:
        return differences(asked, {**found, "BoundingCaps": []})

    monkeypatch.setattr("samebox_podman.containers.differences", lost)
    with pytest.raises(UnsupportedError, match=r"its host can't give cap_add: asked for \['CAP_CHOWN'\], it has \[\]"):
        make(cap_add=["CHOWN"]).start()
