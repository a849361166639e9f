"""The security defaults, seen from inside the sandbox, and limits read back from the kernel's own files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox
    from samebox_podman.engine import PodmanEngine

FILES = {
    "memory": ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "swap": ("/sys/fs/cgroup/memory.swap.max", "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
    "cpu": ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    "pids": ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
}


def status(box: Sandbox, pid: str = "self") -> dict[str, str]:
    """Return what the kernel tells of a process inside."""
    lines = box.exec(["cat", f"/proc/{pid}/status"]).check().text.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def limit(box: Sandbox, what: str) -> str:
    """Return a limit as the kernel has it."""
    two, one = FILES[what]
    return box.sh(f"cat {two} 2>/dev/null || cat {one}").text.strip()


@pytest.mark.parametrize("user", [None, "nobody"])
def test_defaults(make: Callable[..., Sandbox], user: str | None) -> None:
    """For the first process as for every command."""
    with make(user=user) as box:
        for pid in ("1", "self"):
            found = status(box, pid)
            for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert (each, int(found[each], 16)) == (each, 0)
            assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
        assert [file.name for file in box.list_dir("/sys/class/net")] == ["lo"]
        assert box.read_text("/proc/1/comm").strip() == "samebox-init"
        assert box.sh("umask").text.strip() == "0022"


def test_a_command_as_another_user_gains_nothing(make: Callable[..., Sandbox]) -> None:
    """Podman gives an exec's root the capabilities of the bounding set."""
    with make(user="nobody") as box:
        found = box.exec(["cat", "/proc/self/status"], user="root").check().text
        assert "CapEff:\t0000000000000000" in found
        assert "NoNewPrivs:\t1" in found
        assert box.exec(["id", "-u"], user="root").text == "0\n"


def test_nothing_of_the_host_is_inside(make: Callable[..., Sandbox], url: str) -> None:
    """Mounted are the image, the agent, kernel file systems, and what Podman itself puts below /etc and /run."""
    own = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv", "/run/secrets", "/dev/shm"}
    kernel = ("/proc", "/sys", "/dev")
    with make() as box:
        for line in box.read_text("/proc/self/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            point, kind = before.split()[4], after.split()[0]
            if point in own | {"/", "/.samebox"}:
                continue
            assert point.startswith(kernel), line
            assert kind in {"proc", "sysfs", "tmpfs", "devtmpfs", "devpts", "mqueue", "cgroup", "cgroup2"}, line
        sockets = box.sh("find / -xdev -type s 2>/dev/null; ls /run/podman /var/run/docker.sock 2>/dev/null")
        assert sockets.text == ""
        assert not box.exists(url.removeprefix("unix://"))
        assert box.sh("cat /.samebox/agent > /.samebox/new").exit_code != 0
        assert "ro," in next(line for line in box.read_text("/proc/mounts").splitlines() if " /.samebox " in line)


def test_capabilities_given_back(make: Callable[..., Sandbox]) -> None:
    """And no more than those."""
    with make(cap_add=["NET_RAW", "CHOWN"]) as box:
        assert int(status(box)["CapBnd"], 16) == 1 << 13 | 1 << 0
    with make(cap_drop=["MKNOD"]) as box:
        bounding = int(status(box)["CapBnd"], 16)
        assert not bounding >> 27 & 1
        assert bounding >> 0 & 1


def test_new_privileges_if_asked_for(make: Callable[..., Sandbox]) -> None:
    """podman-py's `security_opt` would have set it in neither case."""
    with make(no_new_privileges=False) as box:
        assert status(box)["NoNewPrivs"] == "0"


def test_limits(make: Callable[..., Sandbox], engine: PodmanEngine) -> None:
    """Read back from the cgroup's own files, as Podman's inspect shows what was asked for; or refused."""
    missing = engine.probe().missing
    asked: dict[Capability, tuple[dict[str, Any], dict[str, set[str]]]] = {
        Capability.MEMORY_LIMIT: ({"memory": "48m"}, {"memory": {str(48 << 20)}, "swap": {"0", str(48 << 20), ""}}),
        Capability.CPU_LIMIT: ({"cpus": 0.5}, {"cpu": {"50000", "50000 100000"}}),
        Capability.PIDS_LIMIT: ({"pids_limit": 37}, {"pids": {"37"}}),
    }
    settings: dict[str, Any] = {}
    expected: dict[str, set[str]] = {}
    for capability, (setting, files) in asked.items():
        if capability in missing:
            with pytest.raises(UnsupportedError, match=re.escape(missing[capability])):
                make(**setting).start()
        else:
            settings |= setting
            expected |= files
    with make(**settings) as box:
        for what, values in expected.items():
            assert limit(box, what) in values, what


def test_the_default_limit_of_processes(make: Callable[..., Sandbox], engine: PodmanEngine) -> None:
    """Where the host can't set it, it is left out of the request, and told."""
    with make() as box:
        if Capability.PIDS_LIMIT in engine.probe().missing:
            assert Capability.PIDS_LIMIT in box.unenforced
        else:
            assert limit(box, "pids") == "512"


def test_a_read_only_root(make: Callable[..., Sandbox]) -> None:
    """As on Docker: /tmp, /run and /var/tmp too, unless asked for, and /dev/shm not."""
    script = "for d in / /tmp /run /var/tmp /etc /.samebox /dev/shm; do touch $d/x 2>/dev/null && echo $d; done; true"
    with make(read_only=True) as box:
        assert box.sh(script).text == "/dev/shm\n"
    with make(read_only=True, tmpfs={"/tmp": "size=1m"}) as box:
        assert box.sh(script).text == "/tmp\n/dev/shm\n"


def test_a_tmpfs(make: Callable[..., Sandbox]) -> None:
    """With the size and mode asked for, empty, and without what makes devices and setuid programs work."""
    with make(tmpfs={"/etc": "size=1m,mode=750,noexec", "/data": ""}) as box:
        mounts = {line.split()[1]: line.split()[3].split(",") for line in box.read_text("/proc/mounts").splitlines()}
        assert {"nosuid", "nodev", "noexec", "size=1024k", "mode=750"} <= set(mounts["/etc"])
        assert {"nosuid", "nodev"} <= set(mounts["/data"])
        assert "noexec" not in mounts["/data"]
        # Podman would copy what the image has there. /etc/hosts and the like are its own mounts.
        assert not box.exists("/etc/passwd")
        assert box.sh("stat -c %a /data").text == "1777\n"
        assert box.sh("dd if=/dev/zero of=/etc/big bs=1k count=2000").exit_code != 0


@pytest.mark.parametrize("read_only", [False, True])
def test_the_mode_of_a_tmpfs_over_a_directory(make: Callable[..., Sandbox], read_only: bool) -> None:  # noqa: FBT001
    """Runc before 1.1.9 gave it the directory's: 1777 instead of 700 for /tmp."""
    asked = {"/tmp": "700", "/home": "1777", "/bin/deep/new": "711", "/var": "750"}
    for _ in range(2):  # the second time the engine knows the image
        with make(tmpfs={path: f"mode={mode}" for path, mode in asked.items()}, read_only=read_only) as box:
            found = box.sh(f"stat -c '%n %a' {' '.join(asked)}").text.splitlines()
            assert dict(line.split() for line in found) == asked


def test_network_and_hostname(make: Callable[..., Sandbox]) -> None:
    """The default network has an interface beside lo; a name is seen from inside."""
    with make(network=True, hostname="my-box") as box:
        assert len(box.list_dir("/sys/class/net")) > 1
        assert box.exec(["hostname"]).text == "my-box\n"


@pytest.mark.parametrize("mode", ["none", "host"])
def test_network_modes(make: Callable[..., Sandbox], mode: str) -> None:
    """A text is one of Podman's modes, or a network."""
    with make(network=mode) as box:
        names = [file.name for file in box.list_dir("/sys/class/net")]
        assert (names == ["lo"]) == (mode == "none")
