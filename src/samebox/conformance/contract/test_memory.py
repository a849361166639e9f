"""Memory: the limit that is there by default, what counts to it, and how an end for its sake is told."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, enforced, requires, verifies
from samebox.errors import ConfigError, ConnectionLostError, SandboxGoneError, SpawnError
from samebox.guest.results import CommandFailedError

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness
    from samebox.sandbox.sandbox import Sandbox

LIMIT = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
"""Tells the limit of the sandbox's control group, of version 2 or 1."""
HOG = ["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"]
"""Takes 100 MiB of memory."""


@requires(Capability.MEMORY_LIMIT)
@verifies("memory")
def test_memory_limit_by_default(new_box: NewBox) -> None:
    """A sandbox may use 2 GiB of memory unless the config says otherwise, and sees its limit where programs look.

    Why: without one, five memory file systems of half the host's memory each stop the host.
    Check: memory.max, or memory.limit_in_bytes, of the sandbox's own cgroup at /sys/fs/cgroup.
    """
    box = new_box()
    enforced(box, Capability.MEMORY_LIMIT)
    assert box.sh(LIMIT, timeout=DEADLINE).text.split() == [str(2 << 30)]
    larger = new_box(memory="3g").sh(LIMIT, timeout=DEADLINE)
    assert larger.text.split() == [str(3 << 30)], larger


@verifies("memory")
def test_memory_can_be_unlimited(new_box: NewBox) -> None:
    """`memory="unlimited"`, or None, gives no limit, and none is missed.

    Why: a default that can't be switched off is worked around by numbers beyond the host.
    Check: that the limit is the kernel's own largest, or the host's.
    """
    for none in ("unlimited", None):
        box = new_box(memory=none)
        limits = box.sh(LIMIT, timeout=DEADLINE).text.split()
        assert Capability.MEMORY_LIMIT not in box.unenforced
        assert all(limit == "max" or int(limit) > 1 << 40 for limit in limits), limits


@requires(Capability.TMPFS, Capability.READ_ONLY_ROOT)
@verifies("tmpfs", "memory")
def test_files_in_memory_are_bounded(new_box: NewBox) -> None:
    """Each memory file system that can be written to has a size: its own, else no more than `memory`.

    Why: the kernel's default is half of the host's memory, for each; and where the host has no limit for memory, the
    sizes are all that holds.
    Check: the size options of /tmp, the workdir, /dev/shm and what was asked for without a size.
    """
    box = new_box(tmpfs={"/scratch": "mode=1777", "/small": "mode=1777,size=1m"}, read_only=True)
    script = (
        "grep -E '^[^ ]+ [^ ]+ tmpfs ' /proc/mounts | while read -r a path rest; do "
        '(: > "$path/.samebox-try") 2>/dev/null && rm -f "$path/.samebox-try" && '
        'echo "$path" $(stat -f -c "%b %S" "$path"); done'
    )
    found = [line.split() for line in box.sh(script, timeout=DEADLINE).text.splitlines()]
    sizes = {path: int(blocks) * int(size) for path, blocks, size in found}
    assert sizes.keys() >= {"/scratch", "/small", "/dev/shm", "/workspace"}, sizes  # noqa: S108 - the sandbox's
    assert (sizes["/small"], sizes["/scratch"]) == (1 << 20, 2 << 30), sizes
    # A size of 0 is how the kernel tells of none.
    assert all(0 < size <= 2 << 30 for size in sizes.values()), sizes


@requires(Capability.MEMORY_LIMIT)
@verifies("memory")
def test_kill_for_memory_is_told(new_box: NewBox) -> None:
    """`out_of_memory` is set for a command that the kernel killed for the limit, or whose child it killed so.

    Why: 137 alone sends its reader to look for whoever has killed it.
    Check: the counter oom_kill of the sandbox's cgroup, before and after the command.
    """
    box = new_box(memory="64m")
    result = box.exec(HOG, timeout=60)
    assert (result.exit_code, result.signal, result.out_of_memory) == (137, "SIGKILL", True), result
    result = box.sh(" ".join(HOG) + "; exit $?", timeout=60)
    assert (result.exit_code, result.signal, result.out_of_memory) == (137, None, True), result
    with pytest.raises(CommandFailedError, match=r"died of SIGKILL, as the sandbox's memory was used up"):
        box.exec(HOG, timeout=60).check()
    assert not box.exec(["true"], timeout=DEADLINE).out_of_memory


def test_other_kills_are_not_for_memory(box: Sandbox) -> None:
    """`out_of_memory` is not set for a command that was killed by hand, or that exits with 137 by itself.

    Why: guessing it from the exit code sends its reader to raise a limit that was not reached.
    Check: that the counter has to have grown.
    """
    for script, code in (("kill -9 $$", 137), ("exit 137", 137), ("exit 3", 3), ("true", 0)):
        result = box.sh(script, timeout=DEADLINE)
        assert (result.exit_code, result.out_of_memory) == (code, False), result


@requires(Capability.MEMORY_LIMIT)
def test_kill_for_memory_is_not_told_of_others(new_box: NewBox) -> None:
    """`out_of_memory` is not set for a command that ends well while another one is killed for the limit.

    Why: the counter is the sandbox's, and not the command's.
    Check: that the command itself has to have been killed.
    """
    box = new_box(memory="64m")
    with box.spawn(["sh", "-c", "read x; exit 5"], timeout=60) as process:
        assert box.exec(HOG, timeout=60).out_of_memory
        process.stdin.write(b"on\n")
        result = process.wait(DEADLINE)
    assert (result.exit_code, result.out_of_memory) == (5, False), result


@requires(Capability.MEMORY_LIMIT, Capability.TMPFS)
@verifies("memory")
def test_end_for_memory_names_the_limit(new_box: NewBox) -> None:
    """When files fill the sandbox's memory so that nothing can run in it, the error names the limit and what to do.

    Why: files are not given back by killing; "connection reset" tells nobody that they were too large.
    Check: the text of SandboxGoneError.
    """
    box = new_box(memory="64m", tmpfs={"/fill": "mode=1777"})

    def fill() -> None:
        for number in range(20):
            # The kernel may choose what runs the command, too, or the agent, whose successor goes on.
            with contextlib.suppress(SpawnError, ConnectionLostError):
                box.sh(f"head -c 20000000 /dev/zero > /fill/{number}", timeout=DEADLINE)

    with pytest.raises(SandboxGoneError) as caught:
        fill()
    text = str(caught.value)
    assert "its limit of 64 MiB" in text, text
    assert "memory='4g'" in text, text


@verifies("memory", "pids_limit")
def test_too_small_limits_are_refused(harness: Harness) -> None:
    """A limit with which no sandbox could start is refused with what is needed, before anything is made.

    Why: the runtime that is killed at its start says "read init-p: connection reset by peer".
    Check: the config's own check; and that what it asks for is enough.
    """
    with pytest.raises(ConfigError, match=r"memory = '1k': a sandbox needs 16 MiB of memory at least"):
        harness.sandbox(memory="1k")
    with pytest.raises(ConfigError, match=r"pids_limit = 1: a sandbox needs 16 processes and threads at least"):
        harness.sandbox(pids_limit=1)


@requires(Capability.MEMORY_LIMIT, Capability.PIDS_LIMIT)
@verifies("memory", "pids_limit")
def test_smallest_limits_are_enough(new_box: NewBox) -> None:
    """A sandbox with the smallest limits that are accepted starts, and runs commands one after the other.

    Why: a least value that is too small is an error without a reason.
    Check: that commands run.
    """
    box = new_box(memory="16m", pids_limit=16)
    for _ in range(5):
        assert box.exec(["echo", "on"], timeout=DEADLINE).stdout == b"on\n"
