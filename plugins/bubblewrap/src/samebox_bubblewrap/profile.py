"""Seccomp profiles: the default one, and those that a config names.

The default is what Docker's default refuses to a container without capabilities, in the same format.

The list of calls is that of https://github.com/moby/profiles/blob/main/seccomp/default.json (as of August 2026),
without what only other processors have. Two things are narrower: 32-bit calls are refused (`compile_profile`), and
socket families are listed one by one, because "greater than 40" compares all 64 bits of an argument of which the kernel
looks at 32: a family of 2**32 + 40 passes it and is AF_VSOCK, the way to a hypervisor.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.seccomp import OPTION, UNCONFINED, chosen_profile, read_profile
from samebox.errors import ConfigError
from samebox_bubblewrap.seccomp import compile_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEFAULT_PROFILE", "chosen_filter", "default_filter"]

_ALWAYS = """
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown clock_adjtime clock_getres
clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve
execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate
futex futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd
getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid
getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listmount listxattr listxattrat
llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore
mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at
nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pwrite64 pwritev pwritev2
read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto
set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat shmctl shmdt
shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statmount statx symlink symlinkat sync
sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat
uretprobe utime utimensat utimes vfork vmsplice wait4 waitid write writev
"""
# clone(2)'s CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET: no new namespace.
_NAMESPACES = 0x7E020000
_AF_ALG, _AF_VSOCK, _AF_LAST = 38, 40, 45
# personality(2): PER_LINUX, PER_LINUX32, both with UNAME26, and asking for the present one.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def _equal(name: str, value: int, operator: str = "SCMP_CMP_EQ") -> dict[str, Any]:
    return {
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": value, "valueTwo": 0, "op": operator}],
    }


DEFAULT_PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "syscalls": [
        {"names": _ALWAYS.split(), "action": "SCMP_ACT_ALLOW"},
        {
            # From 4.8 on, a tracer can't get a call past the filter any more.
            "names": ["process_vm_readv", "process_vm_writev", "ptrace"],
            "action": "SCMP_ACT_ALLOW",
            "includes": {"minKernel": "4.8"},
        },
        *(_equal("socket", family) for family in range(_AF_LAST + 1) if family not in {_AF_ALG, _AF_VSOCK}),
        *(_equal("personality", value) for value in _PERSONALITIES),
        {"names": ["arch_prctl", "modify_ldt"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        _equal("clone", _NAMESPACES, "SCMP_CMP_MASKED_EQ"),
        # Its flags are in memory, where no filter can look; with ENOSYS a C library goes back to clone.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ],
}
"""In Docker's format; SCMP_ACT_ERRNO with EPERM for what it does not name."""


@cache
def default_filter(machine: str, kernel: tuple[int, int]) -> bytes:
    """Return the default profile as a filter program.

    Args:
        machine: "x86_64" or "aarch64".
        kernel: Version of the running kernel.

    Returns:
        The program for `bwrap --seccomp`.
    """
    return compile_profile(DEFAULT_PROFILE, machine=machine, kernel=kernel)


def chosen_filter(options: Sequence[str], machine: str, kernel: tuple[int, int]) -> bytes | None:
    """Return the filter that a config asks for, the default one unless it does.

    Args:
        options: The config's `security_opt`.
        machine: "x86_64" or "aarch64".
        kernel: Version of the running kernel.

    Returns:
        The program for `bwrap --seccomp`; None: no filter.

    Raises:
        ConfigError: The profile can't be read, is not in Docker's format, or two are named.
    """
    path = chosen_profile(options)
    if path is None:
        return default_filter(machine, kernel)
    if path == UNCONFINED:
        return None
    profile = read_profile(path)
    try:
        return compile_profile(profile, machine=machine, kernel=kernel)
    except ConfigError as error:
        raise ConfigError(f"wrong config: security_opt = {OPTION + path!r}: {error}") from None
