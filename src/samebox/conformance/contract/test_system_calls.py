"""The system calls that are ways out, tried from inside."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, ORDINARY_USER, enforced, requires
from samebox.conformance.contract.system_calls import Call, foreign_program, program, results

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.sandbox.sandbox import Sandbox

_NEWUSER = 0x10000000
_SIGCHLD = 17
_ABSENT = {-errno.EPERM, -errno.ENOSYS, -errno.EAFNOSUPPORT}
"""What a call answers that is refused, or that is not there at all."""
_THERE = Call(39, 172)
"""getpid, whose result is a pid."""
_REFUSED = {
    "keyctl": Call(250, 219, (0, -3 & 0xFFFFFFFF, 1)),
    "add_key": Call(248, 217, (0, 0, 0, 0, -3)),
    "request_key": Call(249, 218, (0, 0, 0, -3)),
    "clone into a user namespace": Call(56, 220, (_NEWUSER | _SIGCHLD, 0, 0, 0, 0)),
    "clone3": Call(435, 435, (0, 88)),
    "unshare a user namespace": Call(272, 97, (_NEWUSER,)),
    "unshare a mount namespace": Call(272, 97, (0x20000,)),
    "setns": Call(308, 268, (-1, 0)),
    "mount": Call(165, 40, (0, 0, 0, 0, 0)),
    "umount2": Call(166, 39, (0, 0)),
    "pivot_root": Call(155, 41, (0, 0)),
    "fsopen": Call(430, 430, (0, 0)),
    "fsmount": Call(432, 432, (-1, 0, 0)),
    "fspick": Call(433, 433, (-1, 0, 0)),
    "move_mount": Call(429, 429, (-1, 0, -1, 0, 0)),
    "open_tree": Call(428, 428, (-1, 0, 0)),
    "mount_setattr": Call(442, 442, (-1, 0, 0, 0, 0)),
    "an AF_VSOCK socket": Call(41, 198, (40, 1, 0)),
    "an AF_VSOCK socket by a longer number": Call(41, 198, (1 << 32 | 40, 1, 0)),
    "an AF_ALG socket": Call(41, 198, (38, 5, 0)),
    "an AF_PACKET socket": Call(41, 198, (17, 2, 0)),
    "io_uring_setup": Call(425, 425, (1, 0)),
    "bpf": Call(321, 280, (0, 0, 0)),
    "perf_event_open": Call(298, 241, (0, 0, -1, -1, 0)),
    "userfaultfd": Call(323, 282, (1,)),
    "name_to_handle_at": Call(303, 264, (-1, 0, 0, 0, 0)),
    "open_by_handle_at": Call(304, 265, (-1, 0, 0)),
    "kexec_load": Call(246, 104, (0, 0, 0, 0)),
    "init_module": Call(175, 105, (0, 0, 0)),
    "swapon": Call(167, 224, (0, 0)),
    "reboot": Call(169, 142, (0, 0, 0, 0)),
    "move_pages": Call(279, 239, (0, 0, 0, 0, 0, 0)),
}


def tried(box: Sandbox, calls: list[Call], user: str | None = None) -> list[int]:
    """Return the results of calls that a sandbox's command makes."""
    machine = box.exec(["uname", "-m"], timeout=DEADLINE).text.strip()
    path = "./calls"
    box.write_bytes(path, program(calls, machine), mode=0o755)
    return results(box.exec([path], user=user, timeout=DEADLINE).check().stdout)


def check_refused(box: Sandbox, user: str | None = None) -> None:
    """Check the table of calls as one user of a sandbox."""
    pid, *found = tried(box, [_THERE, *_REFUSED.values()], user)
    assert pid > 0
    assert len(found) == len(_REFUSED), "a refused call has made another process, or has ended this one"
    let = {name: result for name, result in zip(_REFUSED, found, strict=True) if result not in _ABSENT}
    assert let == {}, f"not refused as {user or 'the default user'}: {let}"


@requires(Capability.SECCOMP)
def test_ways_out_are_refused(box: Sandbox) -> None:
    """Calls that reach the kernel's keyrings, new namespaces, mounts, hypervisors or rarely used code are refused.

    Why: engines' own profiles differ: some let a guest read the host's keyring, mount in a namespace of its own, talk
    to the hypervisor, or use io_uring.
    Check: each call by its number, with arguments that would get another answer than "not permitted".
    """
    enforced(box, Capability.SECCOMP)
    check_refused(box)


@requires(Capability.SECCOMP, Capability.USER)
def test_ways_out_are_refused_to_an_ordinary_user(new_box: NewBox) -> None:
    """The same calls are refused to a user who is not root.

    Why: an engine that gives another user's commands to a helper loses the filter on the way.
    Check: each call by its number, under `user=`.
    """
    box = new_box(user=ORDINARY_USER)
    enforced(box, Capability.SECCOMP)
    check_refused(box)


@requires(Capability.SECCOMP, Capability.EXEC_USER)
def test_ways_out_are_refused_to_another_user(box: Sandbox) -> None:
    """The same calls are refused to a command of `exec(user=)`.

    Why: Docker's exec with another user is a new process, whose filter is not that of the first.
    Check: each call by its number, under `exec(user=)`.
    """
    enforced(box, Capability.SECCOMP)
    check_refused(box, ORDINARY_USER)


@requires(Capability.SECCOMP)
def test_mounting_in_a_namespace_of_its_own_is_refused(box: Sandbox) -> None:
    """Nothing can be mounted after `unshare -Ur` either.

    Why: in a user namespace of its own a process has every capability, and all of the kernel's mount code.
    Check: unshare(CLONE_NEWUSER | CLONE_NEWNS), then mount(2), whose first complaint then would be its arguments.
    """
    enforced(box, Capability.SECCOMP)
    unshared, mounted = tried(box, [Call(272, 97, (_NEWUSER | 0x20000,)), Call(165, 40, (0, 0, 0, 0, 0))])
    assert (unshared, mounted) == (-errno.EPERM, -errno.EPERM)


@requires(Capability.SECCOMP)
def test_calls_of_another_abi_are_refused(box: Sandbox) -> None:
    """On x86_64 neither 32-bit calls nor those of x32 are served.

    Why: a filter that looks at numbers alone takes the one for the other, and the code behind is old and rarely used.
    Check: getpid by `int 0x80`, and by its number with x32's bit.
    """
    enforced(box, Capability.SECCOMP)
    if box.exec(["uname", "-m"], timeout=DEADLINE).text.strip() != "x86_64":
        return
    path = "./foreign"
    box.write_bytes(path, foreign_program(), mode=0o755)
    assert box.exec([path], timeout=DEADLINE).exit_code != 0
    box.write_bytes(path, program([Call(0x40000000 | 39, 172)], "x86_64"), mode=0o755)
    result = box.exec([path], timeout=DEADLINE)
    assert result.exit_code != 0 or results(result.stdout) == [-errno.ENOSYS], result


@requires(Capability.SECCOMP)
@pytest.mark.parametrize("family", [1, 2, 10, 16])
def test_usual_sockets_can_be_made(box: Sandbox, family: int) -> None:
    """Sockets of the families AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK can be made, and threads by clone.

    Why: a profile that refuses too much is switched off by its users.
    Check: socket(2) for each family.
    """
    enforced(box, Capability.SECCOMP)
    (result,) = tried(box, [Call(41, 198, (family, 2, 0))])
    assert result >= 0 or result == -errno.EAFNOSUPPORT, result
