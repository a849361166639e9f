"""The filter: what the compiler makes of profiles, by a small machine for its programs, and what the kernel does."""

from __future__ import annotations

import errno
import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from samebox.engine.oci.default_profile import default_profile
from samebox.errors import ConfigError
from samebox_bubblewrap.filter import default_filter
from samebox_bubblewrap.seccomp import compile_profile
from samebox_bubblewrap.syscalls import syscall_numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def run(program: bytes, number: int, *args: int, machine: str = "x86_64", arch: int | None = None) -> int:
    """Run a filter on a call, as the kernel does, and return its verdict."""
    data = struct.pack("<IIQ6Q", number, ARCH[machine] if arch is None else arch, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        operation, yes, no, value = code[position]
        position += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                position += value
            case 0x15:
                position += yes if accumulator == value else no
            case 0x25:
                position += yes if accumulator > value else no
            case 0x35:
                position += yes if accumulator >= value else no
            case 0x06:
                return int(value)
            case _:
                pytest.fail(f"instruction {operation:#x}")


def compiled(*rules: dict[str, Any], machine: str = "x86_64", **profile: Any) -> bytes:
    """Compile a profile of some rules."""
    whole = {"defaultAction": "SCMP_ACT_ERRNO", **profile, "syscalls": list(rules)}
    return compile_profile(whole, machine=machine, kernel=(6, 1))


def rule(name: str, *args: dict[str, Any], action: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    """Return one rule of a profile."""
    return {"names": [name], "action": action, "args": list(args), **more}


@pytest.mark.parametrize("machine", list(ARCH))
def test_every_call_of_the_default_profile(machine: str) -> None:
    """Each call without conditions is allowed or EPERM if the profile names it, and does not exist if not."""
    program = default_filter(machine, (6, 1), lasting=False)
    rules = default_profile(lasting=False)["syscalls"]
    always = set(rules[0]["names"]) | {"process_vm_readv", "process_vm_writev", "ptrace"}
    always |= {"arch_prctl", "modify_ldt"} if machine == "x86_64" else set()
    named = {name for rule in rules for name in rule["names"]}
    assert len(set(syscall_numbers(machine)) - named) < 10
    for name, number in syscall_numbers(machine).items():
        if name in {"clone", "clone3", "socket", "personality"}:
            continue
        assert run(program, number, machine=machine) == (
            ALLOW if name in always else EPERM if name in named else ENOSYS
        ), name


@pytest.mark.parametrize("machine", list(ARCH))
def test_conditions_of_the_default_profile(machine: str) -> None:
    """No new namespaces, no clone3, no way to a hypervisor, no odd personality."""
    program = default_filter(machine, (6, 1), lasting=False)
    numbers = syscall_numbers(machine)

    def verdict(name: str, *args: int) -> int:
        return run(program, numbers[name], *args, machine=machine)

    assert verdict("clone3") == ENOSYS
    assert verdict("clone", 0x11) == ALLOW
    assert verdict("clone", 0x003D0F00) == ALLOW  # a thread
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict("clone", flag | 0x11) == EPERM, hex(flag)
    assert [verdict("socket", family) for family in (1, 2, 10, 16, 17, 38, 40, 46)] == [ALLOW] * 4 + [EPERM] * 4
    # The kernel looks at the low 32 bits alone.
    assert verdict("socket", 1 << 32 | 40) == EPERM
    assert [verdict("personality", value) for value in (0, 8, 0xFFFFFFFF, 0x40000)] == [ALLOW] * 3 + [ENOSYS]


@pytest.mark.parametrize("machine", list(ARCH))
def test_no_setuid_files_where_they_last(machine: str) -> None:
    """No call makes a file setuid or setgid; the mode of an open that makes no file does not matter."""
    program = default_filter(machine, (6, 1), lasting=True)
    numbers = syscall_numbers(machine)

    def verdict(name: str, *args: int) -> int:
        return run(program, numbers[name], *args, machine=machine)

    places = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2}
    for name, index in places.items():
        if name in numbers:
            verdicts = [verdict(name, *[0] * index, mode) for mode in (0o777, 0o1777, 0o4755, 0o2755, 1 << 40 | 0o6000)]
            assert verdicts == [ALLOW, ALLOW, EPERM, EPERM, EPERM], name
    for name, index in {"open": 1, "openat": 2}.items():
        if name in numbers:
            for flags in (0o100, 0o20200002, 0o20200102):
                verdicts = [verdict(name, *[0] * index, flags, mode) for mode in (0o644, 0o4755, 0o2755)]
                assert verdicts == [ALLOW, EPERM, EPERM], (name, flags)
            assert verdict(name, *[0] * index, 0o2, 0o4755) == ALLOW
    assert verdict("openat2") == ENOSYS


def test_other_abis_are_refused() -> None:
    """A 32-bit call is death, an x32 one has no such call: both were ways around filters."""
    program = default_filter("x86_64", (6, 1), lasting=False)
    assert run(program, 39) == ALLOW
    assert run(program, 39, arch=0x40000003) == KILL
    assert run(program, 0x40000000 | 39) == ENOSYS
    assert run(program, 0xFFFFFFFF) == ENOSYS


def test_calls_newer_than_the_table_do_not_exist() -> None:
    """A C library that gets EPERM for a new call gives up; with ENOSYS it takes the old one."""
    newest = max(syscall_numbers("x86_64").values())
    assert run(compiled(), newest) == EPERM
    assert run(compiled(), newest + 1) == ENOSYS
    assert run(compiled(defaultAction="SCMP_ACT_ALLOW"), newest + 1) == ALLOW


@pytest.mark.parametrize(
    ("operator", "value", "value_two", "holds", "fails"),
    [
        ("SCMP_CMP_EQ", 5 << 32 | 7, 0, [5 << 32 | 7], [7, 5 << 32, 5 << 32 | 8]),
        ("SCMP_CMP_NE", 5 << 32 | 7, 0, [7, 5 << 32, 5 << 32 | 8], [5 << 32 | 7]),
        ("SCMP_CMP_LT", 5 << 32 | 7, 0, [0, 9, 4 << 32 | 9, 5 << 32 | 6], [5 << 32 | 7, 5 << 32 | 8, 6 << 32]),
        ("SCMP_CMP_LE", 5 << 32 | 7, 0, [0, 9, 4 << 32 | 9, 5 << 32 | 7], [5 << 32 | 8, 6 << 32]),
        ("SCMP_CMP_GT", 5 << 32 | 7, 0, [5 << 32 | 8, 6 << 32], [0, 9, 4 << 32 | 9, 5 << 32 | 7]),
        ("SCMP_CMP_GE", 5 << 32 | 7, 0, [5 << 32 | 7, 5 << 32 | 8, 6 << 32], [0, 9, 4 << 32 | 9, 5 << 32 | 6]),
        (
            "SCMP_CMP_MASKED_EQ",
            0xFF << 32 | 0xF0,
            1 << 32 | 0x20,
            [1 << 32 | 0x2F, 0x101 << 32 | 0x20],
            [0x20, 1 << 32],
        ),
    ],
)
def test_operators(operator: str, value: int, value_two: int, holds: list[int], fails: list[int]) -> None:
    """Each comparison, of all 64 bits."""
    program = compiled(rule("read", {"index": 2, "op": operator, "value": value, "valueTwo": value_two}))
    assert {run(program, 0, 0, 0, argument) for argument in holds} == {ALLOW}
    assert {run(program, 0, 0, 0, argument) for argument in fails} == {EPERM}


def test_several_conditions() -> None:
    """On different arguments all have to hold, on one of them any, as runc does it."""
    equal = {"op": "SCMP_CMP_EQ"}
    both = compiled(rule("read", {"index": 0, "value": 1, **equal}, {"index": 1, "value": 2, **equal}))
    assert [run(both, 0, *args) for args in ((1, 2), (1, 3), (0, 2))] == [ALLOW, EPERM, EPERM]
    either = compiled(rule("read", {"index": 0, "value": 1, **equal}, {"index": 0, "value": 2, **equal}))
    assert [run(either, 0, value) for value in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]


def test_actions_and_errnos() -> None:
    """An errno is the rule's, else the profile's, else EPERM; the first rule that holds decides."""
    program = compiled(
        rule("read", action="SCMP_ACT_ERRNO", errnoRet=5),
        rule("write", action="SCMP_ACT_KILL_PROCESS"),
        rule("open", action="SCMP_ACT_LOG"),
        rule("close"),
        rule("close", action="SCMP_ACT_TRAP"),
        defaultErrnoRet=13,
    )
    assert [run(program, number) for number in range(5)] == [0x50005, KILL, 0x7FFC0000, ALLOW, 0x5000D]


def test_includes_and_excludes() -> None:
    """Rules apply by processor, kernel and capabilities."""
    rules = [
        rule("read", includes={"arches": ["arm64"]}),
        rule("write", excludes={"arches": ["arm64"]}),
        rule("close", includes={"minKernel": "6.2"}),
        rule("fstat", includes={"caps": ["CAP_SYS_ADMIN"]}),
        rule("lseek", excludes={"caps": ["CAP_SYS_ADMIN"]}),
    ]
    for machine, expected in (
        ("x86_64", [EPERM, ALLOW, EPERM, EPERM, ALLOW]),
        ("aarch64", [ALLOW, EPERM, EPERM, EPERM, ALLOW]),
    ):
        numbers = syscall_numbers(machine)
        program = compiled(*rules, machine=machine)
        names = ("read", "write", "close", "fstat", "lseek")
        assert [run(program, numbers[name], machine=machine) for name in names] == expected
    program = compile_profile(
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules},
        machine="x86_64",
        kernel=(6, 2),
        capabilities=["SYS_ADMIN"],
    )
    assert [run(program, number) for number in (0, 1, 3, 5, 8)] == [EPERM, ALLOW, ALLOW, ALLOW, EPERM]


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({}, "defaultAction is one of SCMP_ACT_KILL"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "(found 'SCMP_ACT_NOTIFY')"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000}, "errnoRet is a number from 0 to 65535"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "syscalls is a list of dict, not dict"),
        ({"defaultAction": "SCMP_ACT_LOG", "syscalls": [rule("read", {"index": 6})]}, "an index from 0 to 5"),
        ({"defaultAction": "SCMP_ACT_LOG", "syscalls": ["read"]}, "syscalls is a list of dict, not of str"),
        ({"defaultAction": "SCMP_ACT_LOG", "syscalls": [rule("read") | {"names": [{}]}]}, "names is a list of str"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("read", action="SCMP_ACT_LOG", includes={"foo": 1})]},
            "includes and excludes have caps, arches and minKernel",
        ),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("read", includes={"minKernel": "six"})]},
            "minKernel is a text such as '4.8'",
        ),
    ],
)
def test_wrong_profiles_are_explained(profile: dict[str, Any], said: str) -> None:
    """The text says what is wrong and what is accepted."""
    with pytest.raises(ConfigError, match=r"^seccomp profile: ") as caught:
        compile_profile(profile, machine="x86_64", kernel=(6, 1))
    assert said in str(caught.value)


CALLS = """
import ctypes, errno, json, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(arg) for arg in args])
    return errno.errorcode.get(ctypes.get_errno(), "ok") if result == -1 else "ok"
"""
REFUSED = {
    "unshare": (0x10000000,),
    "mount": (0, 0, 0, 0, 0),
    "umount2": (0, 0),
    "pivot_root": (0, 0),
    "setns": (-1, 0),
    "keyctl": (0, 0),
    "add_key": (0, 0, 0, 0, 0),
    "bpf": (0, 0, 0),
    "perf_event_open": (0, 0, -1, -1, 0),
    "userfaultfd": (0,),
    "io_uring_setup": (1, 0),
    "open_by_handle_at": (-1, 0, 0),
    "name_to_handle_at": (-1, 0, 0, 0, 0),
    "kexec_load": (0, 0, 0, 0),
    "init_module": (0, 0, 0),
    "swapon": (0, 0),
    "reboot": (0, 0, 0, 0),
    "fsopen": (0, 0),
    "move_mount": (-1, 0, -1, 0, 0),
    "syslog": (3, 0, 0),
    "clone": (0x10000011, 0, 0, 0, 0),
    "chroot": (0,),
    "acct": (0,),
    "move_pages": (0, 0, 0, 0, 0, 0),
}
NEEDED = {
    "openat2": (-1, 0, 0, 0),
    "pidfd_open": (1, 0),
    "pidfd_send_signal": (-1, 0, 0, 0),
    "prctl": (37, 0, 0, 0, 0),
    "prlimit64": (0, 7, 0, 0),
    "close_range": (500, 501, 0),
    "memfd_create": (0, 0),
    "statx": (-1, 0, 0, 0, 0),
    "ptrace": (0x4206, 999999, 0, 0),
    "faccessat2": (-1, 0, 0, 0),
}


def test_kernel_refuses_from_inside(box: Sandbox) -> None:
    """The calls that Docker's default refuses are refused in a sandbox, and those that programs need are not."""
    machine = box.exec(["uname", "-m"]).text.strip()
    numbers = syscall_numbers(machine)
    calls = {name: (numbers[name], *args) for name, args in (REFUSED | NEEDED).items()}
    calls["clone3"] = (numbers["clone3"], 0, 0)
    calls["vsock"] = (numbers["socket"], 40, 1, 0)
    calls["unix"] = (numbers["socket"], 1, 1, 0)
    script = CALLS + f"print(json.dumps({{name: call(*args) for name, args in {calls!r}.items()}}))"
    found = json.loads(box.exec(["python3", "-c", script]).check().stdout)
    assert {name: found[name] for name in [*REFUSED, "vsock"]} == dict.fromkeys([*REFUSED, "vsock"], "EPERM")
    assert found["clone3"] == "ENOSYS"
    assert found["unix"] == "ok"
    assert {name: found[name] for name in NEEDED if found[name] in {"EPERM", "ENOSYS"}} == {}


def test_threads_and_processes_work_under_it(box: Sandbox) -> None:
    """clone3 with ENOSYS makes a C library take clone: threads, forks and pipes go on working."""
    script = (
        "import threading, subprocess, multiprocessing as m\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "print(subprocess.run(['echo', 'child'], capture_output=True).stdout.decode(), end='')\n"
        "with m.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1, -2]))"
    )
    assert box.exec(["python3", "-c", script]).check().text == "thread\nchild\n[1, 2]\n"


def test_profile_of_the_config_is_in_force(make_box: Callable[..., Sandbox], tmp_path: Path) -> None:
    """A file in Docker's format takes the place of the default: in both directions."""
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule_of("mkdir", "mkdirat")]}))
    box = make_box(security_opt=[f"seccomp={path}"])
    numbers = syscall_numbers(box.exec(["uname", "-m"]).text.strip())
    script = CALLS + f"print(call({numbers['userfaultfd']}, -1), call({numbers['mkdirat']}, -1, 0, 0))"
    # Past the filter, the kernel itself finds the arguments wrong.
    assert box.exec(["python3", "-c", script]).check().text == "EINVAL EXDEV\n"
    assert "Seccomp:\t2" in box.exec(["cat", "/proc/self/status"]).text


def rule_of(*names: str) -> dict[str, Any]:
    """Refuse some calls with an errno that nothing else gives."""
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}


def test_no_filter_if_asked_for_in_words(make_box: Callable[..., Sandbox]) -> None:
    """What is left without it: no capability, no new privileges, no nested user namespace."""
    box = make_box(security_opt=["seccomp=unconfined"])
    status = dict(line.split(":", 1) for line in box.exec(["cat", "/proc/self/status"]).text.splitlines())
    found = {name: status[name].strip() for name in ("Seccomp", "NoNewPrivs", "CapBnd", "CapEff")}
    assert found == {"Seccomp": "0", "NoNewPrivs": "1", "CapBnd": "0" * 16, "CapEff": "0" * 16}
    numbers = syscall_numbers(box.exec(["uname", "-m"]).text.strip())
    script = CALLS + f"print(call({numbers['unshare']}, 0x10000000))"
    assert box.exec(["python3", "-c", script]).text == "ENOSPC\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "it can't be read: No such file or directory"),
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "it has no defaultAction"),
        ("{}", "it has no defaultAction"),
        ('{"defaultAction": "x"}', "defaultAction is one of"),
        (" " * (1 << 20) + "{}", "at most 1048576 bytes"),
    ],
    ids=["absent", "broken", "deep", "list", "empty", "odd", "large"],
)
def test_unusable_profiles_are_refused_before_the_start(
    make_box: Callable[..., Sandbox], tmp_path: Path, content: str | None, said: str
) -> None:
    """The error names the file and what is wrong with it."""
    path = tmp_path / "profile.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        make_box(security_opt=[f"seccomp={path}"]).start()
    assert f"wrong config: security_opt = 'seccomp={path}': " in str(caught.value)
    assert said in str(caught.value)


def test_one_profile_at_a_time(make_box: Callable[..., Sandbox]) -> None:
    """Of two none is dropped silently; a directory is no profile."""
    with pytest.raises(ConfigError, match="one seccomp profile at a time"):
        make_box(security_opt=["seccomp=unconfined", "seccomp=/x.json"]).start()
    with pytest.raises(ConfigError, match="seccomp=//': it "):
        make_box(security_opt=["seccomp=//"]).start()
