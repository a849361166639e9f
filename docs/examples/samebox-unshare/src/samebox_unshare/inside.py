"""What runs first in the new namespaces: mounts, a new root, no rights, and then the agent.

inside.py ROOT AGENT COMMAND...
"""

import ctypes
import fcntl
import os
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
READ_ONLY, NOSUID, REMOUNT, BIND, REC, PRIVATE, DETACH = 1, 2, 32, 4096, 1 << 14, 1 << 18, 2


def check(result: int, what: str) -> None:
    """End with the reason of a call that failed."""
    if result:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount something; a file system of a kind, or a directory, on a directory that is made for it."""
    if kind or os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    check(libc.mount(*(w.encode() or None for w in (source, target, kind)), flags, data.encode()), f"mount {target}")


root, agent, *command = sys.argv[1:]
mount("", "/", flags=REC | PRIVATE)
mount(root, root, flags=BIND)
os.chdir(root)
mount("proc", "proc", "proc")
for place in ("dev", "dev/shm", ".samebox"):
    mount("tmpfs", place, "tmpfs")
mount("devpts", "dev/pts", "devpts", data="newinstance,ptmxmode=0666")
os.symlink("pts/ptmx", "dev/ptmx")
os.symlink("/proc/self/fd", "dev/fd")
devices = [f"dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")]
for source, target in [(agent, ".samebox/agent"), *((f"/{device}", device) for device in devices)]:
    os.close(os.open(target, os.O_CREAT))
    mount(source, target, flags=BIND)
# Where programs count the processors; the rest of /sys stays outside.
mount("/sys/devices/system/cpu", "sys/devices/system/cpu", flags=BIND)
# /proc as well: for the kernel, root in here may be root outside, whose files in /proc/sys need no capability.
for target in (".samebox/agent", ".samebox", "proc", "sys/devices/system/cpu"):
    mount("", target, flags=REMOUNT | BIND | READ_ONLY | NOSUID)

# Loopback is up, as programs expect.
fcntl.ioctl(socket.socket(), 0x8914, b"lo".ljust(16, b"\0") + b"\1".ljust(24, b"\0"))
# The old root is not covered but gone: what is a mere chroot can be left.
check(libc.syscall({"x86_64": 155, "aarch64": 41}[os.uname().machine], b".", b"."), "pivot_root")
check(libc.umount2(b".", DETACH), "umount")
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; one that the kernel does not know is an error
check(libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
os.execv(command[0], command)
