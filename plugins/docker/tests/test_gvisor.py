"""gVisor as the runtime: the main job, what of the hardening is seen there, and what is refused with the reason."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from samebox import (
    Capability,
    ExecTimeoutError,
    Isolation,
    IsolationError,
    SandboxConfig,
    SandboxGoneError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox
    from samebox_docker.engine import DockerEngine


@pytest.fixture(params=["runsc", "runsc-layered"])
def runtime(request: pytest.FixtureRequest, raw: Any) -> str:
    """Each runtime of the daemon that is gVisor: as it is, and with a sandbox's writes in the container's layer."""
    name: str = request.param
    if name not in raw.info()["Runtimes"]:
        message = f"the daemon has no runtime {name}: tools/engines.py up gives it one"
        (pytest.fail if os.environ.get("SAMEBOX_REQUIRE_ENGINES") else pytest.skip)(message)
    return name


@pytest.fixture
def gvisor(make: Callable[..., Sandbox], runtime: str) -> Callable[..., Sandbox]:
    """Return what makes a sandbox under gVisor."""
    return lambda **settings: make(options={"runtime": runtime}, **settings)


def test_main_job(gvisor: Callable[..., Sandbox]) -> None:
    """Commands, streams, files and timeouts are as everywhere, on a kernel that is not the host's."""
    with gvisor(isolation="user-kernel") as box:
        assert box.info is not None
        assert box.info.isolation is Isolation.USER_KERNEL
        assert "gVisor" in box.sh("dmesg").text
        result = box.exec(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in\0\xff", env={"A": "b"})
        assert (result.exit_code, result.stdout, result.stderr) == (3, b"in\0\xff", b"err\n")
        data = os.urandom(1 << 20)
        box.write_bytes("d/file", data)
        assert box.read_bytes("d/file") == data
        assert box.sh("wc -c < d/file").text.strip() == str(len(data))
        began = time.monotonic()
        with pytest.raises(ExecTimeoutError):
            box.sh("setsid sleep 1000 & sleep 1000", timeout=0.5)
        assert time.monotonic() - began < 20
        assert "sleep" not in box.sh("ps -o comm | grep sleep; true").text


def test_hardening_seen_from_inside(gvisor: Callable[..., Sandbox]) -> None:
    """No capabilities, no new privileges, no network but loopback; what is not in force is listed."""
    with gvisor() as box:
        status = dict(line.split(":\t", 1) for line in box.read_text("/proc/self/status").splitlines() if ":\t" in line)
        assert {name: int(value, 16) for name, value in status.items() if name.startswith("Cap")} == dict.fromkeys(
            ("CapInh", "CapPrm", "CapEff", "CapBnd"), 0
        )
        assert "no_new_privs: 1" in box.sh("setpriv -d").text
        interfaces = [line.split(":")[0].strip() for line in box.read_text("/proc/net/dev").splitlines()[2:]]
        assert interfaces == ["lo"]
        assert box.unenforced.keys() == {Capability.MEMORY_LIMIT, Capability.PIDS_LIMIT, Capability.SECCOMP}
        assert "--ignore-cgroups" in box.unenforced[Capability.PIDS_LIMIT]


def test_an_ordinary_user(gvisor: Callable[..., Sandbox]) -> None:
    """The workdir is the user's, and nothing else is."""
    with gvisor(user="1234:1234", read_only=True, tmpfs={"/scratch": "size=1m"}) as box:
        box.write_text("file", "mine")
        assert box.sh("id -u; cat file; touch /x 2>/dev/null || echo refused").text == "1234\nminerefused\n"
        assert box.sh("head -c 2000000 /dev/zero > /scratch/x").exit_code != 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"memory": "64m"}, "memory-limit: the daemon runs gVisor with --ignore-cgroups"),
        ({"pids_limit": 20}, "pids-limit: the daemon runs gVisor with --ignore-cgroups"),
        ({"cpus": 1.0}, "cpu-limit: the daemon runs gVisor with --ignore-cgroups"),
        ({"network": True}, "network: the daemon runs gVisor with --network=none"),
        ({"network": True, "ports": {80: None}}, "ports: the daemon runs gVisor with --network=none"),
        ({"security_opt": ["seccomp=unconfined"]}, "seccomp-profile: gVisor serves system calls with a kernel of its"),
    ],
)
def test_what_it_cannot_do_is_refused(gvisor: Callable[..., Sandbox], settings: dict[str, Any], text: str) -> None:
    """Before anything starts, with the reason and what to change."""
    box = gvisor(**settings)
    with pytest.raises(UnsupportedError, match=text):
        box.start()
    assert box.id == ""


def test_it_is_no_vm(gvisor: Callable[..., Sandbox]) -> None:
    """The tier is one between container and vm."""
    with pytest.raises(
        IsolationError, match=r"isolates at the tier user-kernel \(runtime runsc.*, the config asks for vm"
    ):
        gvisor(isolation="vm").start()


def test_what_outlives_its_processes(gvisor: Callable[..., Sandbox], runtime: str, name: str) -> None:
    """Files are there after a stop where the daemon lets gVisor write to the container's layer; else it is refused."""
    if runtime == "runsc":
        with pytest.raises(UnsupportedError, match=r"persistent: .* give it --overlay2=none in the daemon's"):
            gvisor(name=name).start()
        with gvisor() as box, pytest.raises(UnsupportedError, match=r"snapshot: .*overlay2=none"):
            box.snapshot("localhost/samebox-test-snapshot")
        return
    with gvisor(name=name, keep=True) as box:
        box.write_text("file", "kept")
        box.engine.stop(box.id)  # type: ignore[union-attr]
    with gvisor(name=name) as box:
        assert (box.attached, box.read_text("file")) == (True, "kept")


@pytest.mark.parametrize("isolation", ["user-kernel", "strongest"])
@pytest.mark.usefixtures("runtime")
def test_it_is_found_by_its_tier(make: Callable[..., Sandbox], isolation: str) -> None:
    """Without its name in the options; a name in the options wins."""
    with make(isolation=isolation) as box:
        assert "gVisor" in box.sh("dmesg").text
        assert "docker" in box.summary
        assert "(user-kernel, runtime runsc" in box.summary
    with pytest.raises(IsolationError, match=r"tier container \(runtime runc\), .* no stronger wall"):
        make(isolation="user-kernel", options={"runtime": "runc"}).start()
    with pytest.raises(IsolationError, match=r"and not with runtime='runsc': .* --ignore-cgroups"):
        make(isolation="user-kernel", memory="1g").start()


@pytest.mark.usefixtures("runtime")
def test_an_untrusted_sandbox_is_one(make: Callable[..., Sandbox]) -> None:
    """The strictest that works here, with what its memory file systems hold as the only files to write."""
    untrusted = {name: getattr(SandboxConfig.untrusted(), name) for name in SandboxConfig.untrusted().asked}
    with make(**untrusted) as box:
        assert "gVisor" in box.sh("dmesg").text
        assert box.sh("touch /x || echo refused; touch /tmp/x x && echo both").text == "refused\nboth\n"


@pytest.mark.parametrize("how", ["stop", "remove"])
def test_the_end_of_a_sandbox_is_told(gvisor: Callable[..., Sandbox], engine: DockerEngine, how: str) -> None:
    """Dockerd forgets the streams of an exec that ends after its container, and a caller would wait for ever."""
    for _ in range(3):
        with gvisor() as box:
            box.exec(["true"])
            with ThreadPoolExecutor() as pool:
                call = pool.submit(box.exec, ["sleep", "1000"])
                time.sleep(0.3)
                getattr(engine, how)(box.id)
                assert isinstance(call.exception(15), SandboxGoneError)
