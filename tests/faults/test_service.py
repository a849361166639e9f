"""A service that is killed, stopped or restarted while something is under way."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registry_server import RegistryServer, layer, require_registry
from samebox import ImageBuild, Sandbox, SandboxError
from samebox.engine.registry import make_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from fault_bed import Service, Table

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")]

DEADLINE = 8.0
"""The timeout of what has one, in seconds."""
LATE = 5.0
"""How much later than that a call may end; and a service's silence that is given up, twice."""
_LARGE = 128 << 20
"""The size of an image that takes its time to be pulled, in bytes."""
STOPPED = 20.0
"""How long a service that was stopped stays so, in seconds."""


def _exec(box: Sandbox, _: Path) -> Any:
    return box.exec(["sleep", "4"], timeout=DEADLINE).exit_code


def _write(box: Sandbox, _: Path) -> Any:
    for number in range(40):
        box.write_bytes(f"f{number}", bytes(4 << 20))
        time.sleep(0.05)
    return "written"


def _upload(box: Sandbox, directory: Path) -> Any:
    for number in range(100):
        (directory / f"f{number}").touch()
        os.truncate(directory / f"f{number}", 8 << 20)
    return box.upload(directory, "uploaded").files


def _idle(box: Sandbox, _: Path) -> Any:
    time.sleep(4)
    return box.exec(["true"], timeout=DEADLINE).exit_code


PHASES: dict[str, Callable[[Sandbox, Path], Any]] = {"exec": _exec, "write": _write, "upload": _upload, "idle": _idle}


def _create(service: Service) -> str:
    for _ in range(6):
        with Sandbox(**service.settings()) as box:
            box.exec(["true"], timeout=DEADLINE).check()
    return "created"


def _build(service: Service) -> str:
    settings = service.settings()
    text = f"FROM {settings['image']}\nRUN sleep 4; echo {time.time()} > /made\n"
    with Sandbox(**settings | {"image": None, "build": ImageBuild(dockerfile=text)}) as box:
        return box.exec(["true"], timeout=DEADLINE).check().text or "built"


def _pushed(service: Service, stack: contextlib.ExitStack, directory: Path) -> str:
    """Start a registry with a large image, and return the image's reference."""
    require_registry()
    registry = stack.enter_context(RegistryServer(directory))
    root = Path(service.bed.environment["SAMEBOX_TEST_IMAGE_DIR"], "busybox.tar")
    return registry.push("large", layer("x", _LARGE, root))


def _pull(service: Service, *, image: str) -> str:
    with Sandbox(**service.settings(image=image)) as box:
        box.exec(["true"], timeout=DEADLINE).check()
    return "pulled"


def _faults(service: Service, fault: str) -> None:
    if fault == "killed":
        service.signal(signal.SIGKILL)
    elif fault == "restarted":
        service.signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while service.bed.daemon(service.name) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        service.bed.up()
    else:
        service.signal(signal.SIGSTOP)
        time.sleep(STOPPED)
        service.signal(signal.SIGCONT)


def _outcome(work: Callable[[], Any]) -> tuple[str, float]:
    """Return what came of it in words, and when it ended; an error that is not samebox's own is a failure."""
    try:
        result = repr(work())
    except SandboxError as error:
        result = type(error).__name__
    return result, time.monotonic()


def _ours(service: Service) -> list[str]:
    settings = service.settings()
    engine = make_engine(settings["engine"], settings["options"])
    with contextlib.closing(engine):
        return [status.name for status in engine.list() if f"/{os.getpid()}." in status.labels.get("samebox.owner", "")]


def _check_after(service: Service) -> None:
    """Check that the service is of use again, and that nothing is left there of this process."""
    service.bed.up()
    with Sandbox(**service.settings()) as box:
        assert box.exec(["echo", "again"], timeout=DEADLINE).text == "again\n"
    gc.collect()  # a sandbox whose close() failed is removed by another thread, which waits up to half a minute
    deadline = time.monotonic() + 60
    while (left := _ours(service)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left == []


@pytest.mark.parametrize("fault", ["killed", "stopped", "restarted"])
@pytest.mark.parametrize("phase", PHASES)
def test_while_a_sandbox_is_used(service: Service, fault: str, phase: str, tmp_path: Path, table: Table) -> None:
    """What is under way ends as documented and in time; the service is of use afterwards, and nothing is left."""
    threads = threading.active_count()
    with ThreadPoolExecutor(1) as pool:
        box = Sandbox(**service.settings()).start()
        began = time.monotonic()
        working = pool.submit(_outcome, lambda: PHASES[phase](box, tmp_path))
        time.sleep(0.7)
        _faults(service, fault)
        seen, ended = working.result(60)
        took = ended - began
        assert took < STOPPED + DEADLINE + LATE, f"{seen} after {took:.1f} s"
        service.bed.up()
        with contextlib.suppress(SandboxError):
            box.close()
        box.close()
    _check_after(service)
    assert threading.active_count() <= threads + 3
    table.add(f"service {fault}: {phase}", "a result or a SandboxError in time; nothing is left", service.name, seen)


@pytest.mark.parametrize("fault", ["killed", "stopped", "restarted"])
@pytest.mark.parametrize("phase", ["create", "build", "pull"])
def test_while_a_sandbox_is_made(service: Service, fault: str, phase: str, tmp_path: Path, table: Table) -> None:
    """A start ends as documented and in time; the service is of use afterwards, and nothing is left."""
    with contextlib.ExitStack() as stack:
        image = _pushed(service, stack, tmp_path) if phase == "pull" else ""
        pull = functools.partial(_pull, image=image)
        works: dict[str, Callable[[Service], str]] = {"create": _create, "build": _build, "pull": pull}
        seen = _broken(service, fault, works[phase])
        _check_after(service)
        if image:
            assert _pull(service, image=image) == "pulled"
            service.program("rmi", "--force", image)
    table.add(f"service {fault}: {phase}", "a result or a SandboxError in time; nothing is left", service.name, seen)


def _broken(service: Service, fault: str, work: Callable[[Service], str]) -> str:
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        working = pool.submit(_outcome, lambda: work(service))
        time.sleep(0.7)
        _faults(service, fault)
        seen, ended = working.result(120)
        assert ended - began < 60 + LATE, f"{seen} after {ended - began:.1f} s"
    return seen
