"""Resource limits of each process: kept inside, and refused where this process can't give them."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interpreter import run_python
from samebox.capabilities import Capability
from samebox.config.units import ULIMITS, Ulimit
from samebox.errors import SandboxError, UnsupportedError
from samebox_bubblewrap.cgroups import Hierarchies
from samebox_bubblewrap.ulimits import number, resource_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox

LIMITS = "import resource, sys; print(*resource.getrlimit(int(sys.argv[1])))"


def seen(box: Sandbox, name: str) -> tuple[int, ...]:
    """Return a limit of a command."""
    return tuple(map(int, box.exec(["python3", "-c", LIMITS, str(number(name))]).check().text.split()))


def test_every_one_is_kept(make_box: Callable[..., Sandbox]) -> None:
    """Each by its name, on commands of every connection, as soft and hard limit."""
    lower = {}
    for name in ULIMITS - {"nproc", "nofile", "nice", "rtprio"}:
        hard = resource.getrlimit(number(name))[1]
        lower[name] = (1 << 29, (1 << 30) if hard == -1 else min(hard, 1 << 30))
        lower[name] = (min(lower[name]), lower[name][1])
    box = make_box(ulimits={**lower, "nofile": (100, 200)})
    assert {name: seen(box, name) for name in lower} == lower
    assert seen(box, "nofile") == (100, 200)
    raised = box.sh("ulimit -Hn 201 || ulimit -n 200 && ulimit -Sn")
    assert raised.text == "200\n" or os.geteuid() != 0, raised


def test_small_ones_do_not_disturb_the_start(make_box: Callable[..., Sandbox]) -> None:
    """Bwrap opens and writes files itself; the limits are the sandbox's, from its first instruction on."""
    for _ in range(10):
        box = make_box(ulimits={"nofile": 16, "fsize": 0, "core": 0})
        assert seen(box, "nofile") == (16, 16)
        assert box.sh("echo x > file").signal == "SIGXFSZ"
        box.close()


@pytest.mark.parametrize("network", [True, "host"])
def test_with_a_network(make_box: Callable[..., Sandbox], network: bool | str) -> None:  # noqa: FBT001
    """The order of the preparations does not matter."""
    try:
        assert seen(make_box(ulimits={"nofile": 64}, network=network), "nofile") == (64, 64)
    except UnsupportedError as error:
        assert error.capability is Capability.NETWORK  # noqa: PT017 - this host has no slirp4netns


def test_processes_are_the_lower_of_two(make_box: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """`pids_limit` is a resource limit where there are no control groups: neither undoes the other."""
    nothing = Hierarchies({}, dict.fromkeys(("pids", "memory", "cpu"), "none here"), 0)
    monkeypatch.setattr("samebox_bubblewrap.engine.hierarchies", lambda: nothing)
    assert seen(make_box(ulimits={"nproc": 100}, pids_limit=50), "nproc") == (50, 50)
    assert seen(make_box(ulimits={"nproc": (30, 100)}, pids_limit=50), "nproc") == (30, 50)


def test_processes_of_root_are_limited_too(make_box: Callable[..., Sandbox]) -> None:
    """The kernel exempts its root, which nobody in a sandbox is."""
    box = make_box(ulimits={"nproc": 10}, user="0")
    result = box.sh("i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i+1)); done; wait", timeout=20)
    assert b"ork" in result.stderr, result


def test_more_than_the_kernel_has(make_box: Callable[..., Sandbox]) -> None:
    """Not even root may raise the number of files above fs.nr_open."""
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    for value in (most + 1, -1):
        with pytest.raises(UnsupportedError, match=r"the kernel's fs.nr_open is|the hard limit of this process is"):
            make_box(ulimits={"nofile": value}).start()


def test_raising_is_refused_with_the_reason() -> None:
    """An ordinary user may not raise a hard limit, and root may not either without the capability for it."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from samebox_bubblewrap import ulimits\n"
        "from samebox.config.units import Ulimit\n"
        "ulimits._may_raise = lambda: False\n"
        "print(ulimits.resource_limits({'nofile': Ulimit(soft=10, hard=64)}))\n"
        "ulimits.resource_limits({'nofile': Ulimit(soft=10, hard=65)})\n"
    )
    done = run_python(script)
    assert done.stdout == "{7: (10, 64)}\n"
    assert "ulimits['nofile'] asks for 65, and the hard limit of this process is 64" in done.stderr


def test_refused_before_the_start(make_box: Callable[..., Sandbox]) -> None:
    """Refused or kept: nothing between."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    wanted = {"core": -1 if hard == -1 else hard + 1}
    try:
        box = make_box(ulimits=wanted)
        assert seen(box, "core")[1] == wanted["core"]
    except SandboxError as error:
        assert isinstance(error, UnsupportedError)  # noqa: PT017 - either is right
        assert hard != -1
    assert resource_limits({"core": Ulimit(soft=0, hard=0)}) == {resource.RLIMIT_CORE: (0, 0)}
