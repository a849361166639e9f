"""Paths of /proc and /sys that are masked or read-only, the same on every engine.

Daemons have lists of their own, which grew over the years; an old one shows what a new one masks.
"""

from __future__ import annotations

MASKED = (
    "/proc/acpi",
    "/proc/allocinfo",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/pressure",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""What tells of the host or its other users: a file is empty, a directory has nothing in it."""
READ_ONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/sys/fs/cgroup",
)
"""What root could write to without any capability, as the kernel goes by the uid there."""
