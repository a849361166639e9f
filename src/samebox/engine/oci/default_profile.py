"""The seccomp profile of every sandbox that asks for no other, in Docker's JSON format.

It refuses what Docker's default refuses to a container without capabilities, and more: the kernel's keyrings, new
namespaces, mounts, sockets of the families below, io_uring, bpf, performance events, userfaultfd, file handles. The
list of calls is that of https://github.com/moby/profiles/blob/main/seccomp/default.json (as of August 2026), without
what only other processors have. Three things are narrower: no ABI but the processor's own is allowed (no 32-bit calls,
no x32); `name_to_handle_at` needs a capability, as `open_by_handle_at` does; and socket families are refused one by one
and above the last one, because "other than 40" compares all 64 bits of an argument of which the kernel looks at 32.

Where a sandbox can write to files that outlive it, the profile has nobody make a setuid or setgid one either: root's in
a sandbox may be root's on the host.

A call that the profile knows and refuses gives EPERM; one that it does not know ENOSYS, so that a C library falls back
to an older call. A Docker daemon before 20.10.10 knows no errno but EPERM.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig

_ALLOWED = """
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown clock_adjtime clock_getres
clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat
fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents
getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr getxattrat
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup
io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown
lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap
mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv
msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal
pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease
pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages
removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid
setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid
setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs
statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask
uname unlink unlinkat uretprobe utime utimensat utimes vfork vmsplice wait4 waitid write writev
"""
_REFUSED = """
_sysctl add_key afs_syscall create_module get_kernel_syms getpmsg io_uring_enter io_uring_register io_uring_setup
kexec_file_load kexec_load keyctl lsm_get_self_attr lsm_list_modules lsm_set_self_attr migrate_pages move_pages
nfsservctl pivot_root putpmsg query_module request_key security swapoff swapon sysfs tuxcall uselib userfaultfd ustat
vserver
"""
_WITH_CAPABILITY = {
    ("CAP_DAC_READ_SEARCH",): "name_to_handle_at open_by_handle_at",
    ("CAP_SYS_ADMIN",): """
fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree open_tree_attr
quotactl quotactl_fd setdomainname sethostname setns umount2 unshare
""",
    ("CAP_SYS_ADMIN", "CAP_BPF"): "bpf",
    ("CAP_SYS_ADMIN", "CAP_PERFMON"): "perf_event_open",
    ("CAP_SYS_ADMIN", "CAP_SYSLOG"): "syslog",
    ("CAP_SYS_BOOT",): "reboot",
    ("CAP_SYS_CHROOT",): "chroot",
    ("CAP_SYS_MODULE",): "delete_module finit_module init_module",
    ("CAP_SYS_NICE",): "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ("CAP_SYS_PACCT",): "acct",
    ("CAP_SYS_PTRACE",): "kcmp pidfd_getfd process_madvise",
    ("CAP_SYS_RAWIO",): "ioperm iopl",
    ("CAP_SYS_TIME",): "clock_settime settimeofday",
    ("CAP_SYS_TTY_CONFIG",): "vhangup",
}
_NAMESPACES = tuple(1 << bit for bit in (17, 25, 26, 27, 28, 29, 30))
"""clone(2)'s CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
_AF_PACKET, _AF_ALG, _AF_VSOCK, _AF_LAST = 17, 38, 40, 45
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""personality(2): PER_LINUX, PER_LINUX32, both with UNAME26, and asking for the present one."""
_SET_ID = (0o4000, 0o2000)
_WITH_MODE = {"chmod": 1, "creat": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "mknod": 1, "mknodat": 2}
_MAKES_FILE = (0o100, 0o20000000)
"""O_CREAT, and what O_TMPFILE has beside O_DIRECTORY."""
_EPERM, _ENOSYS = 1, 38
_ALLOW = {"action": "SCMP_ACT_ALLOW"}
_REFUSE = {"action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM}


def _where(name: str, value: int, operator: str = "SCMP_CMP_EQ", value_two: int = 0) -> dict[str, Any]:
    """Return the part of a rule that says on which values of a call's first argument it applies."""
    return {"names": [name], "args": [{"index": 0, "value": value, "valueTwo": value_two, "op": operator}]}


def _bits(index: int, mask: int, value: int) -> dict[str, Any]:
    """Return the condition that an argument has that value in the bits of the mask."""
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def _on_modes(name: str, index: int, *others: dict[str, Any]) -> list[dict[str, Any]]:
    """Return rules that allow a call, under other conditions, unless the mode at that argument has one of `_SET_ID`."""
    refuse = [{"names": [name], **_REFUSE, "args": [*others, _bits(index, bit, bit)]} for bit in _SET_ID]
    return [{"names": [name], **_ALLOW, "args": [*others, _bits(index, sum(_SET_ID), 0)]}, *refuse]


def _no_set_id() -> list[dict[str, Any]]:
    """Return rules by which nobody makes a setuid or setgid program.

    The mode of an `open` that makes no file is whatever the register has. The conditions of each call divide all cases,
    by the flags first: libseccomp does not try a further rule where the second condition of one does not hold.
    """
    rules = [rule for name, index in _WITH_MODE.items() for rule in _on_modes(name, index)]
    for name, flags in (("open", 1), ("openat", 2)):
        rules.append({"names": [name], **_ALLOW, "args": [_bits(flags, sum(_MAKES_FILE), 0)]})
        for bit in _MAKES_FILE:
            rules += _on_modes(name, flags + 1, _bits(flags, bit, bit))
    # Its mode is in memory, where no filter can look.
    return [*rules, {"names": ["openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS}]


def _by_capability(names: list[str], capabilities: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return rules that allow calls with one of the capabilities, and refuse them without all of those."""
    allow = [{"names": names, **_ALLOW, "includes": {"caps": [each]}} for each in capabilities]
    return [*allow, {"names": names, **_REFUSE, "excludes": {"caps": list(capabilities)}}]


def _rules(*, lasting: bool) -> list[dict[str, Any]]:
    admin, raw = {"caps": ["CAP_SYS_ADMIN"]}, {"caps": ["CAP_NET_RAW"]}
    refused = {_AF_ALG, _AF_VSOCK}
    divided = {*_WITH_MODE, "open", "openat", "openat2"} if lasting else set()
    return [
        {"names": [name for name in _ALLOWED.split() if name not in divided], **_ALLOW},
        *(_no_set_id() if lasting else ()),
        {"names": _REFUSED.split(), **_REFUSE},
        *(rule for caps, names in _WITH_CAPABILITY.items() for rule in _by_capability(names.split(), caps)),
        # From 4.8 on, a tracer can't get a call past the filter any more.
        {"names": ["process_vm_readv", "process_vm_writev", "ptrace"], **_ALLOW, "includes": {"minKernel": "4.8"}},
        {"names": ["arch_prctl", "modify_ldt"], **_ALLOW, "includes": {"arches": ["amd64"]}},
        *(
            {**_where("socket", family), **(_REFUSE if family in refused else _ALLOW)}
            for family in range(_AF_LAST + 1)
            if family != _AF_PACKET
        ),
        {**_where("socket", _AF_LAST + 1, "SCMP_CMP_GE"), **_REFUSE},
        {**_where("socket", _AF_PACKET), **_ALLOW, "includes": raw},
        {**_where("socket", _AF_PACKET), **_REFUSE, "excludes": raw},
        *({**_where("personality", value), **_ALLOW} for value in _PERSONALITIES),
        {"names": ["clone", "clone3"], **_ALLOW, "includes": admin},
        {**_where("clone", sum(_NAMESPACES), "SCMP_CMP_MASKED_EQ"), **_ALLOW, "excludes": admin},
        *({**_where("clone", flag, "SCMP_CMP_MASKED_EQ", flag), **_REFUSE, "excludes": admin} for flag in _NAMESPACES),
        # Its flags are in memory, where no filter can look; with ENOSYS a C library goes back to clone.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS, "excludes": admin},
    ]


@cache
def default_profile(*, lasting: bool) -> dict[str, Any]:
    """Return the profile.

    Args:
        lasting: Whether the sandbox can write to files that outlive it; then it can't make setuid or setgid ones.
    """
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": _ENOSYS, "syscalls": _rules(lasting=lasting)}


@cache
def default_profile_text(*, lasting: bool) -> str:
    """Return the profile as JSON text; see `default_profile`."""
    return json.dumps(default_profile(lasting=lasting), separators=(",", ":"))


def writes_last(config: SandboxConfig) -> bool:
    """Return whether a sandbox can write to files that outlive it: those of mounts that are not read-only."""
    return any(not mount.read_only for mount in config.mounts)
