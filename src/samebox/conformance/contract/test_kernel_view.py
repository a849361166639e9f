"""The kernel's view: what /proc and /sys show inside, and that nothing there can be written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, enforced, requires
from samebox.conformance.contract.test_hardening import has_own_kernel

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness

SETTINGS = (
    "/proc/sys/vm/overcommit_memory /proc/sys/kernel/core_pattern /proc/sys/kernel/msgmax /proc/sys/fs/file-max "
    "/proc/pressure/memory /proc/timer_list /sys/kernel/mm/transparent_hugepage/enabled /sys/kernel/mm/ksm/run "
    "/sys/kernel/profiling /sys/power/state /sys/module/printk/parameters/time /sys/devices/system/cpu/cpu0/online "
    "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs "
    "/sys/fs/cgroup/memory.max"
)
"""What a kernel lets uid 0 write without a capability, or has let."""
WALK = (
    f"ls -d {SETTINGS} 2>/dev/null > /tmp/samebox-try; "
    "find /sys /proc/[a-r]* /proc/s[a-d]* /proc/s[f-z]* /proc/[u-z]* /proc/tty /proc/timer* "
    r"\( -type f -o -type d \) 2>/dev/null >> /tmp/samebox-try; "
    'while read -r f; do if test -d "$f"; then { true > "$f/.samebox-try"; } 2>/dev/null && rm "$f/.samebox-try" && '
    'echo "$f"; elif test -f "$f"; then { true >> "$f"; } 2>/dev/null && echo "$f"; fi; done < /tmp/samebox-try; '
    "wc -l < /tmp/samebox-try; rm /tmp/samebox-try; echo tried"
)
"""Tries to open everything for writing that belongs to no process, and writes nothing."""
MASKED = (
    "acpi asound interrupts kcore keys kmsg kpagecount latency_stats pagetypeinfo pressure sched_debug scsi slabinfo "
    "timer_list timer_stats vmallocinfo"
)


@requires(Capability.ROOT_FILESYSTEM, Capability.USER)
@pytest.mark.parametrize("user", [None, "0:0"], ids=["default", "root"])
def test_nothing_of_the_kernel_can_be_written(new_box: NewBox, harness: Harness, user: str | None) -> None:
    """Nothing in /sys, and nothing in /proc that belongs to no process, can be opened for writing, as root either.

    Why: the kernel goes by the uid for most of it, so that root without a capability changes huge pages, limits of
    other sandboxes and power for the whole host.
    Check: read-only mounts of /sys and of the writable parts of /proc.
    """
    box = new_box() if user is None else new_box(user=user)
    enforced(box, Capability.ROOT_FILESYSTEM)
    *found, looked_at, tried = box.sh(WALK, timeout=60).text.split()
    assert tried == "tried"
    assert int(looked_at) > 5, "nothing was tried"
    assert found == [] or has_own_kernel(box, harness), found


@requires(Capability.ROOT_FILESYSTEM)
def test_masked_files_tell_nothing(new_box: NewBox, harness: Harness) -> None:
    """What of /proc and /sys tells of the host's other work and its hardware is empty.

    Why: interrupts and timers tell what others do, and addresses help who attacks the kernel; old engines show them.
    Check: the masked paths that the engine was asked for.
    """
    box = new_box()
    enforced(box, Capability.ROOT_FILESYSTEM)
    script = (
        f"cd /proc; for f in {MASKED} /sys/firmware /sys/devices/virtual/powercap; do "
        'if test -d $f; then test -z "$(ls -A $f 2>/dev/null)" || echo $f; '
        "else test -z \"$(head -c 100 $f 2>/dev/null | tr -d '\\0')\" || echo $f; fi; done; echo looked"
    )
    result = box.sh(script, timeout=DEADLINE)
    assert result.stdout == b"looked\n" or has_own_kernel(box, harness), result


@requires(Capability.ROOT_FILESYSTEM)
def test_groups_are_named_from_inside(new_box: NewBox, harness: Harness) -> None:
    """A sandbox's control groups are called as from inside: its own one is the root.

    Why: the host's names tell the engine, the sandbox's id and who is beside it.
    Check: the cgroup namespace.
    """
    box = new_box()
    enforced(box, Capability.ROOT_FILESYSTEM)
    groups = [line.split(":", 2)[2] for line in box.read_text("/proc/self/cgroup").splitlines()]
    # A process that was put into its group after it had got a namespace is beside the namespace's root.
    outside = [group for group in groups if group != "/" and not group.startswith("/../")]
    assert outside == [] or has_own_kernel(box, harness), groups
