"""The hardening and the limits, as they are seen from inside a sandbox."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.errors import ConfigError, UnsupportedError
from samebox_docker.container import container_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox
    from samebox_docker.engine import DockerEngine

OF_DOCKER = {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/.samebox"}
"""What Docker binds into every container, and the agent's volume."""


def status(box: Sandbox, *, user: str | None = None) -> dict[str, str]:
    """Return the fields of a command's /proc/self/status."""
    text = box.exec(["cat", "/proc/self/status"], user=user).check().text
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@pytest.mark.parametrize("settings", [{}, {"user": "65534:65534"}, {"read_only": True}], ids=str)
def test_defaults(make: Callable[..., Sandbox], settings: dict[str, Any]) -> None:
    """Without any setting a command has no capability, may gain none, is filtered, and sees no network but loopback."""
    with make(**settings) as box:
        found = status(box)
        mounts = [line.split() for line in box.read_text("/proc/self/mountinfo").splitlines()]
        pid_1 = box.read_text("/proc/1/comm")
        interfaces = box.list_dir("/sys/class/net")
        sockets = box.sh(
            "find / -xdev -type s 2>/dev/null; ls -d /run/docker.sock /var/run/docker.sock 2>/dev/null"
        ).text

    assert ["0" * 16] * 5 == [found[f"Cap{kind}"].strip() for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    assert "1" == found["NoNewPrivs"]
    assert "2" == found["Seccomp"]
    assert ["lo"] == [each.name for each in interfaces]
    assert re.fullmatch(r"samebox[-+]\w+\n", pid_1)
    assert not sockets
    # Field 4 is where in its file system a mount begins: for a bind of the host's something other than "/".
    bound = {fields[4] for fields in mounts if fields[3] != "/" and not fields[4].startswith(("/proc", "/sys", "/dev"))}
    assert bound == OF_DOCKER


def test_agent_is_read_only(make: Callable[..., Sandbox]) -> None:
    """The sandboxed code can't change the agent, root's own no more than others'."""
    with make() as box:
        result = box.sh("echo x > /.samebox/agent; rm -f /.samebox/agent; mount -o remount,rw /.samebox; true")
        assert 2 == result.stderr.count(b"Read-only file system")
        assert box.exec(["test", "-x", "/.samebox/agent"]).ok


def test_exec_as_another_user(make: Callable[..., Sandbox]) -> None:
    """A command as another user is as hardened, root's too."""
    with make(user="65534:65534") as box:
        found = status(box, user="0")

        assert b"0\n" == box.exec(["id", "-u"], user="0").stdout
        assert b"65534\n" == box.exec(["id", "-u"]).stdout
    assert "0" * 16 == found["CapBnd"]
    assert "1" == found["NoNewPrivs"]


def test_loosened(make: Callable[..., Sandbox]) -> None:
    """What is asked for is given, and not more."""
    with make(cap_add=["CHOWN", "NET_RAW"], no_new_privileges=False) as box:
        found = status(box)

    assert f"{1 << 0 | 1 << 13:016x}" == found["CapBnd"].strip()
    assert "0" == found["NoNewPrivs"]


def test_cap_drop(make: Callable[..., Sandbox]) -> None:
    """Dropping single capabilities leaves Docker's default set without them."""
    with make(cap_drop=["CHOWN"]) as box:
        assert f"{0xA80425FB & ~1:016x}" == status(box)["CapBnd"].strip()


def test_network(make: Callable[..., Sandbox]) -> None:
    """The default network is Docker's bridge; a mode can be named."""
    with make(network=True) as box:
        assert {"lo", "eth0"} <= {each.name for each in box.list_dir("/sys/class/net")}
    with make(network="none") as box:
        assert ["lo"] == [each.name for each in box.list_dir("/sys/class/net")]


def test_unknown_network(make: Callable[..., Sandbox], raw: Any) -> None:
    """A network that does not exist is an error, and leaves nothing."""
    before = {each["Id"] for each in raw.containers(all=True)}
    box = make(network="samebox-no-such-network")
    with pytest.raises(ConfigError, match="the engine has no network 'samebox-no-such-network'"):
        box.start()

    assert not [each for each in raw.containers(all=True) if box.name in each["Names"][0] and each["Id"] not in before]


def test_hostname(make: Callable[..., Sandbox]) -> None:
    """The host name is what was asked for."""
    with make(hostname="inside.example") as box:
        assert b"inside.example\n" == box.exec(["hostname"]).stdout


def test_read_only(make: Callable[..., Sandbox]) -> None:
    """A read-only root refuses writes, and the workdir and memory file systems take them."""
    with make(read_only=True, tmpfs={"/m": "size=1m"}) as box:
        assert b"Read-only file system" in box.sh("echo x > /etc/x").stderr
        box.write_text("/m/x", "x")
        box.write_text("x", "x")
        full = box.sh("dd if=/dev/zero of=/m/full bs=1k count=2000")
        assert b"No space left" in full.stderr


def test_tmpfs_exec(make: Callable[..., Sandbox]) -> None:
    """Programs on a memory file system run unless noexec was asked for; setuid and devices never work."""
    with make(tmpfs={"/x": None, "/n": "noexec"}) as box:
        script = "for d in /x /n; do cp /bin/busybox $d/true && $d/true; echo $?; done; grep -E ' /[xn] ' /proc/mounts"
        result = box.sh(script)
        codes, mounts = result.text.splitlines()[:2], result.text.splitlines()[2:]

    assert ["0", "126"] == codes
    assert all("nosuid,nodev" in mount for mount in mounts)


def cgroup(box: Sandbox, version_1: str, version_2: str) -> str:
    """Return the content of a cgroup's file, which has one name in each version."""
    for path in (f"/sys/fs/cgroup/{version_2}", f"/sys/fs/cgroup/{version_1}"):
        if box.exists(path):
            return box.read_text(path).strip()
    pytest.fail(f"neither {version_1} nor {version_2} is in the sandbox")


@pytest.mark.usefixtures("limits")
def test_limits(make: Callable[..., Sandbox]) -> None:
    """Memory, processors and processes are limited in the sandbox's own cgroup, the last by default."""
    with make(memory="64m", cpus=0.5) as box:
        memory = cgroup(box, "memory/memory.limit_in_bytes", "memory.max")
        quota = cgroup(box, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0]
        pids = cgroup(box, "pids/pids.max", "pids.max")

    assert str(64 << 20) == memory
    assert "50000" == quota
    assert "512" == pids


@pytest.mark.usefixtures("limits")
def test_more_processors_than_there_are(make: Callable[..., Sandbox]) -> None:
    """A limit above what the host has is no mistake; Docker's own setting (NanoCpus) refuses it."""
    with make(cpus=1000) as box:
        assert box.exec(["true"]).ok


def test_unknown_runtime(make: Callable[..., Sandbox], engine: DockerEngine, url: str) -> None:
    """A runtime that the daemon has not is an error that lists those it has."""
    engine.probe()
    text = (
        rf"^wrong options for engine 'docker': runtime = 'runsc-x': the daemon at {re.escape(url)} has no such "
        rf"runtime; "
        r"it has: .*\brunc\b.*$"
    )
    with pytest.raises(ConfigError, match=text):
        make(options={"runtime": "runsc-x"}).start()


def test_runtime(make: Callable[..., Sandbox], raw: Any) -> None:
    """A runtime that was asked for is the one that is used."""
    with make(options={"runtime": "runc"}) as box:
        assert box.exec(["true"]).ok
        assert "runc" == raw.inspect_container(box.id)["HostConfig"]["Runtime"]


def test_environment_is_nobodys(make: Callable[..., Sandbox], raw: Any) -> None:
    """Values of the environment are for commands; Docker's metadata and the host's process list never have them."""
    with make(env={"TOKEN": "s3cr3t-value"}) as box:
        assert b"s3cr3t-value\n" == box.sh("echo $TOKEN").stdout
        assert "s3cr3t-value" not in repr(raw.inspect_container(box.id))


def test_missing_defaults_are_left_out() -> None:
    """A default that the host lacks is not asked of Docker."""
    config = SandboxConfig()

    def limits(missing: set[Capability]) -> dict[str, Any]:
        body = container_body(
            config, image="i", labels={}, mounts=[], binds=[], tmpfs={}, missing=missing, runtime=None, workdir="/"
        )
        host = body["HostConfig"]
        return {name: host[name] for name in ("PidsLimit", "Memory", "CpuQuota") if name in host}

    assert {"PidsLimit": 512, "Memory": 2 << 30} == limits(set())
    assert not limits({Capability.PIDS_LIMIT, Capability.MEMORY_LIMIT})


@pytest.mark.parametrize(
    ("settings", "capability"),
    [({"image": "host"}, Capability.HOST_IMAGE)],
    ids=str,
)
def test_not_claimed(make: Callable[..., Sandbox], settings: dict[str, Any], capability: Capability) -> None:
    """What the engine does not have is refused by its name."""
    with pytest.raises(UnsupportedError) as caught:
        make(**settings).start()

    assert capability == caught.value.capability
