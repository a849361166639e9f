"""The private service: started where there is none, started again when it has gone, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from forks import true_in_a_fork
from interpreter import printed
from real_engine import not_here
from samebox import Capability, Isolation, IsolationError, Sandbox
from samebox.engine.registry import registry
from samebox.errors import EngineUnavailableError
from samebox_podman import service as service_module
from samebox_podman.child import HelperError, OwnedProcess
from samebox_podman.discovery import find_service
from samebox_podman.engine import PodmanEngine
from samebox_podman.options import PodmanOptions
from samebox_podman.service import PrivateService, private_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

needs_podman = pytest.mark.skipif(
    shutil.which("podman") is None and not os.environ.get("SAMEBOX_REQUIRE_ENGINES"), reason="no podman program in PATH"
)
LONELY = """
import os, sys, time
from samebox_podman import discovery, service
service.IDLE = int(sys.argv[1])
discovery.ROOTFUL_SOCKET = "/nowhere.sock"
os.environ["XDG_RUNTIME_DIR"] = sys.argv[2]
from samebox_podman.engine import PodmanEngine
engine = PodmanEngine()
info = engine.probe()
print(service.private_service().pid, info.address, flush=True)
"""


def gone(pid: int, within: float = 10.0) -> bool:
    """Wait until a process is gone."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give podman storage of its own, and let nothing listen in the usual places."""
    tmp_path.chmod(0o755)
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    )
    lines = ['cgroup_manager = "cgroupfs"', 'events_logger = "file"', 'lock_type = "file"', f'tmp_dir = "{tmp_path}/t"']
    (tmp_path / "containers.conf").write_text("\n".join(["[engine]", *lines, ""]))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    monkeypatch.setenv("CONTAINERS_CONF", str(tmp_path / "containers.conf"))
    monkeypatch.delenv("CONTAINER_HOST", raising=False)
    monkeypatch.delenv("CONTAINER_CONNECTION", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("samebox_podman.discovery.ROOTFUL_SOCKET", str(tmp_path / "none.sock"))
    return tmp_path


@pytest.fixture
def service(configured: Path) -> Iterator[PrivateService]:
    """Return this process's private service, which is ended after the test."""
    assert configured.is_dir()
    yield private_service()
    private_service().end()


@needs_podman
def test_the_engine_starts_one_and_says_so(service: PrivateService, configured: Path) -> None:
    """In a private directory, with the idle time as a backstop, one for all engines of the process."""
    engine = PodmanEngine()
    info = engine.probe()
    pid = service.pid
    assert pid is not None
    assert info.address.startswith(f"unix://{configured}/samebox-")
    assert info.details["found by"] == "a private service that samebox started"
    directory = Path(info.address.removeprefix("unix://")).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert f"--time={service_module.IDLE}" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    other = PodmanEngine()
    assert other.probe().address == info.address  # one for all engines of the process
    other.close()
    engine.close()
    assert service.pid == pid  # the next sandbox needs it again
    service.end()
    assert gone(pid)
    assert not directory.exists()


@needs_podman
def test_one_that_has_ended_is_started_again(service: PrivateService) -> None:
    """As after IDLE seconds without a connection: the next call finds it gone."""
    engine = PodmanEngine()
    engine.probe()
    first = service.pid
    assert first is not None
    os.kill(first, signal.SIGTERM)
    assert gone(first)
    assert engine.list() == []
    assert service.pid not in {None, first}
    engine.close()


@needs_podman
@pytest.mark.usefixtures("configured")
def test_it_ends_with_its_owner(configured: Path) -> None:
    """An ordinary exit leaves neither process nor directory."""
    pid, address = printed(LONELY, "60", str(configured)).split()
    assert gone(int(pid), 1)
    assert not Path(address.removeprefix("unix://")).parent.exists()


@needs_podman
@pytest.mark.usefixtures("configured")
def test_it_ends_by_itself_when_its_owner_was_killed(configured: Path) -> None:
    """SIGKILL leaves no time to clean up: the idle time does it."""
    argv = [sys.executable, "-c", LONELY + "time.sleep(60)", "2", str(configured)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline().split()[0])
        owner.kill()
    assert Path(f"/proc/{pid}").exists()
    assert gone(pid, 15)


@needs_podman
def test_a_forked_child_leaves_its_parents_alone_and_has_its_own(service: PrivateService) -> None:
    """A child that ends must not take its parent's service along."""
    engine = PodmanEngine()
    address = engine.probe().address

    def has_its_own() -> bool:
        info = PodmanEngine().probe()
        other = info.address != address and private_service() is not service
        engine.list()
        private_service().end()
        service.end()
        return other

    assert true_in_a_fork(has_its_own)
    assert engine.list() == []
    assert engine.probe().address == address
    engine.close()


def test_no_podman_program(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place that is tried last says why it can't be."""
    monkeypatch.setenv("PATH", str(configured))
    with pytest.raises(EngineUnavailableError, match="a private service: there is no podman program in PATH"):
        find_service(PodmanOptions(), os.environ, os.geteuid(), PrivateService())


def test_a_program_that_fails_tells_its_words(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What podman says on stderr is in the error, and nothing is left."""
    program = configured / "podman"
    program.write_text("#!/bin/sh\necho cannot set up the user namespace >&2\nexit 125\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda _name: str(program))
    with pytest.raises(EngineUnavailableError) as caught:
        find_service(PodmanOptions(), os.environ, os.geteuid(), PrivateService())
    assert "a private service: it ended with exit code 125: cannot set up the user namespace" in str(caught.value)
    assert not list(configured.glob("samebox-*"))


def test_a_helper_that_is_never_ready_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It does not linger after the error."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(HelperError, match=r"it was not ready within 0 s: "):
        OwnedProcess(["/bin/sleep", "60"], lambda _directory: False, within=0.1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["exit", "kill"])
def test_a_helper_with_a_pipe_ends_with_its_owner(ending: str, tmp_path: Path) -> None:
    """However the owner ends, the pipe does too."""
    code = (
        "import os, sys, time; from samebox_podman.child import OwnedProcess\n"
        "helper = OwnedProcess(['/bin/cat'], lambda _directory: True, within=5, stdin=True)\n"
        "print(helper.pid, flush=True)\n" + ("time.sleep(60)" if ending == "kill" else "")
    )
    environ: Callable[[], dict[str, str]] = lambda: {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}  # noqa: E731
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ()) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        if ending == "kill":
            owner.kill()
    assert gone(pid)


GVISOR = "--platform=systrap --ignore-cgroups --network=none"
"""The arguments with which runsc runs anywhere."""


@needs_podman
def test_gvisor_is_found_by_its_tier(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private service is started with it, and one more for whatever else is asked for; a runtime's name wins."""
    runsc, images = os.environ.get("SAMEBOX_TEST_RUNSC", ""), os.environ.get("SAMEBOX_TEST_IMAGE_DIR", "")
    if os.geteuid() != 0 or not os.access(runsc, os.X_OK) or shutil.which("runc") is None:
        not_here("gVisor needs root, runc beside it, and SAMEBOX_TEST_RUNSC (tools/engines.py env)")
    program = configured / "runsc"
    program.write_text(f'#!/bin/sh\nexec {runsc} {GVISOR} "$@"\n')
    program.chmod(0o755)
    lines = ['[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]']
    lines += [(configured / "containers.conf").read_text(), f'runtime = "runc"\nvolume_path = "{configured}/volumes"']
    lines += [f'[engine.runtimes]\nrunsc = ["{program}"]\n']
    (configured / "containers.conf").write_text("\n".join(lines))
    monkeypatch.setitem(registry().engines, "podman", PodmanEngine)
    settings: dict[str, Any] = {"engine": "podman", "image": f"tar:{images}/busybox.tar"}
    try:
        with Sandbox(**settings) as box:
            assert "gVisor" not in box.sh("dmesg").text
        for more in ({"isolation": "user-kernel"}, {"isolation": "strongest"}, {"options": {"runtime": str(program)}}):
            with Sandbox(**settings, **more) as box:
                assert box.info is not None
                assert (box.info.isolation, "gVisor" in box.sh("dmesg").text) == (Isolation.USER_KERNEL, True)
                assert Capability.MEMORY_LIMIT in box.unenforced
        with pytest.raises(IsolationError, match=r"runtime='runsc' at the tier user-kernel; .*Kata Containers give"):
            Sandbox(**settings, isolation="vm").start()
        with pytest.raises(EngineUnavailableError, match=r'default OCI runtime \\?"nosuch\\?" not found'):
            Sandbox(**settings, options={"runtime": "nosuch"}).start()
    finally:
        for each in (None, "runsc", str(program)):
            private_service(each).end()
