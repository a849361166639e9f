"""SeccompCompiler: turns a profile in Docker's JSON format into the kernel's filter program, without libseccomp.

The format: https://docs.docker.com/engine/security/seccomp/ ; the machine it runs on: networking/filter.rst and
userspace-api/seccomp_filter.rst in the kernel's Documentation.
"""

from __future__ import annotations

import errno
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from samebox.errors import ConfigError
from samebox_bubblewrap.syscalls import syscall_numbers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["compile_profile"]

# AUDIT_ARCH_* of linux/audit.h, and the names that profiles have for the processors.
_ARCHITECTURES = {"x86_64": (0xC000003E, "amd64"), "aarch64": (0xC00000B7, "arm64")}
# A number with this bit is a call of the x32 ABI, which shares AUDIT_ARCH_X86_64: a way around filters that forget it.
_X32 = 0x40000000

_LOAD, _ALU_AND, _JUMP, _EQUAL, _GREATER, _GREATER_EQUAL, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16

_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": _ALLOW,
}
_WITH_DATA = {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"}
_OPERATORS = {
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
}
_MOST_INSTRUCTIONS = 4096


class _Condition(NamedTuple):
    """One comparison of a call's argument."""

    argument: int
    operator: str
    value: int
    value_two: int


class _Rule(NamedTuple):
    """What happens to a call when all conditions hold."""

    conditions: tuple[_Condition, ...]
    action: int


_Outcome = tuple[_Rule, ...]


def compile_profile(
    profile: Mapping[str, Any], *, machine: str, kernel: tuple[int, int], capabilities: Collection[str] = ()
) -> bytes:
    """Turn a profile into a filter program.

    Rules are tried in the profile's order, and the first one whose conditions all hold decides; several conditions on
    one argument are alternatives, as they are for runc. Names that this processor's kernel does not have are passed
    over. Calls of another ABI (32-bit, x32) are refused whatever the profile says, and calls that are newer than the
    table of system calls get ENOSYS where the profile's default is an errno, so that a C library falls back to an older
    call.

    Args:
        profile: Docker's format: defaultAction, defaultErrnoRet, syscalls with names, action, errnoRet, args, includes
            and excludes.
        machine: "x86_64" or "aarch64".
        kernel: Version of the running kernel, for minKernel.
        capabilities: The sandbox's Linux capabilities without CAP_, for includes and excludes.

    Returns:
        The program, as `bwrap --seccomp` takes it: 8 bytes for each instruction.

    Raises:
        ConfigError: The profile is not in that format, has an action that needs a supervisor (SCMP_ACT_NOTIFY), or is
            longer than the kernel accepts.
    """
    try:
        architecture, docker_name = _ARCHITECTURES[machine]
    except KeyError:
        raise ConfigError(
            f"seccomp profiles are compiled for {', '.join(_ARCHITECTURES)}, not for {machine!r}"
        ) from None
    default = _action(profile, "defaultAction", profile.get("defaultErrnoRet"))
    numbers = syscall_numbers(machine)
    rules: dict[int, list[_Rule]] = {}
    for entry in _sequence(profile.get("syscalls"), "syscalls", dict):
        if not _applies(entry, docker_name, kernel, {name.removeprefix("CAP_") for name in capabilities}):
            continue
        action = _action(entry, "action", entry.get("errnoRet", profile.get("defaultErrnoRet")))
        if action == default:
            continue
        names = [*_sequence(entry.get("names"), "names", str), *([entry["name"]] if entry.get("name") else [])]
        for name in names:
            if name in numbers:
                rules.setdefault(numbers[name], []).extend(
                    _Rule(conditions, action) for conditions in _alternatives(entry)
                )
    return _assemble(architecture, default, max(numbers.values()), {k: _shortest(v) for k, v in rules.items()})


def _sequence(value: Any, what: str, kind: type) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ConfigError(f"seccomp profile: {what} is a list of {kind.__name__}, not {type(value).__name__}")
    for item in value:
        if not isinstance(item, kind):
            raise ConfigError(f"seccomp profile: {what} is a list of {kind.__name__}, not of {type(item).__name__}")
    return value


def _action(entry: Mapping[str, Any], key: str, data: Any) -> int:
    name = entry.get(key)
    if name not in _ACTIONS:
        raise ConfigError(f"seccomp profile: {key} is one of {', '.join(_ACTIONS)} (found {name!r})")
    if name not in _WITH_DATA:
        return _ACTIONS[name]
    number = errno.EPERM if data is None else data
    if not isinstance(number, int) or not 0 <= number <= 0xFFFF:
        raise ConfigError(f"seccomp profile: errnoRet is a number from 0 to 65535 (found {number!r})")
    return _ACTIONS[name] | number


def _applies(entry: Mapping[str, Any], docker_name: str, kernel: tuple[int, int], capabilities: set[str]) -> bool:
    """Tell whether an entry's `includes` and `excludes` let it apply: every word of includes, none of excludes."""
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    for condition in (includes, excludes):
        if not isinstance(condition, dict) or not set(condition) <= {"caps", "arches", "minKernel"}:
            raise ConfigError(
                f"seccomp profile: includes and excludes have caps, arches and minKernel (found {condition!r})"
            )

    def caps(condition: Mapping[str, Any]) -> set[str]:
        return {str(name).removeprefix("CAP_") for name in _sequence(condition.get("caps"), "caps", str)}

    if not caps(includes) <= capabilities or caps(excludes) & capabilities:
        return False
    if includes.get("arches") and docker_name not in includes["arches"]:
        return False
    if docker_name in (excludes.get("arches") or ()):
        return False
    if includes.get("minKernel") and kernel < _kernel(includes["minKernel"]):
        return False
    return not (excludes.get("minKernel") and kernel >= _kernel(excludes["minKernel"]))


def _kernel(text: Any) -> tuple[int, int]:
    major, dot, minor = str(text).partition(".")
    if not (major.isdecimal() and dot and minor.isdecimal()):
        raise ConfigError(f"seccomp profile: minKernel is a text such as '4.8' (found {text!r})")
    return int(major), int(minor)


def _alternatives(entry: Mapping[str, Any]) -> list[tuple[_Condition, ...]]:
    """Return the sets of conditions of which one has to hold."""
    conditions = []
    for argument in _sequence(entry.get("args"), "args", dict):
        index, operator = argument.get("index"), argument.get("op")
        values = (argument.get("value", 0), argument.get("valueTwo", 0))
        if (
            index not in range(6)
            or operator not in _OPERATORS
            or not all(isinstance(value, int) and 0 <= value < 1 << 64 for value in values)
        ):
            raise ConfigError(
                "seccomp profile: args have an index from 0 to 5, a value, maybe a valueTwo (64 bits, unsigned) and an "
                f"op of {', '.join(sorted(_OPERATORS))} (found {dict(argument)!r})"
            )
        conditions.append(_Condition(index, operator, *values))
    if len({condition.argument for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(conditions)]


def _shortest(rules: list[_Rule]) -> _Outcome:
    """Leave out what comes after a rule without conditions, as it can't be reached."""
    for position, rule in enumerate(rules):
        if not rule.conditions:
            return tuple(rules[: position + 1])
    return tuple(rules)


class _Program:
    """Instructions with names for the places that jumps lead to, as the distances are not known before the end."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, object, object]] = []
        self._places: dict[object, int] = {}

    def add(self, code: int, value: int = 0, yes: object = None, no: object = None) -> None:
        """Append an instruction; a comparison goes on at `yes` or `no`, None being the next instruction."""
        self._code.append((code, value, yes, no))

    def jump(self, label: object) -> None:
        """Append a jump, which may be a long one."""
        self._code.append((_JUMP, 0, label, None))

    def place(self, label: object) -> None:
        """Give the next instruction a name."""
        self._places[label] = len(self._code)

    def encode(self) -> bytes:
        """Return the program's bytes."""
        if len(self._code) > _MOST_INSTRUCTIONS:
            raise ConfigError(
                f"seccomp profile: it takes {len(self._code)} instructions, the kernel accepts {_MOST_INSTRUCTIONS}"
            )
        out = bytearray()
        for position, (code, value, *labels) in enumerate(self._code):
            yes, no = (0 if label is None else self._places[label] - position - 1 for label in labels)
            out += (
                struct.pack("=HBBI", code, 0, 0, yes) if code == _JUMP else struct.pack("=HBBI", code, yes, no, value)
            )
        return bytes(out)


def _assemble(architecture: int, default: int, newest: int, rules: Mapping[int, _Outcome]) -> bytes:
    program = _Program()
    program.add(_LOAD, _OFFSET_ARCH)
    program.add(_EQUAL, architecture, yes="native")
    program.add(_RETURN, _KILL_PROCESS)
    program.place("native")
    program.add(_LOAD, _OFFSET_NUMBER)
    # Ranges of numbers with one outcome, searched by halves: seven comparisons instead of three hundred for a call.
    bounds: dict[int, _Outcome] = {0: (_Rule((), default),)}
    for number in range(newest + 1):
        bounds[number] = rules.get(number, (_Rule((), default),))
    missing = _ERRNO | errno.ENOSYS
    bounds[newest + 1] = (_Rule((), missing if default & 0xFFFF0000 == _ERRNO else default),)
    bounds[_X32] = (_Rule((), missing),)
    ordered = sorted(bounds.items())
    ranges = [ordered[0]] + [after for before, after in pairwise(ordered) if before[1] != after[1]]
    _search(program, ranges, default)
    return program.encode()


def _search(program: _Program, ranges: list[tuple[int, _Outcome]], default: int) -> None:
    if len(ranges) == 1:
        for rule in ranges[0][1]:
            _decide(program, rule)
        if ranges[0][1][-1].conditions:
            program.add(_RETURN, default)
        return
    middle = len(ranges) // 2
    upper = object()
    # A conditional jump reaches 255 instructions, an unconditional one any.
    near = object()
    program.add(_GREATER_EQUAL, ranges[middle][0], no=near)
    program.jump(upper)
    program.place(near)
    _search(program, ranges[:middle], default)
    program.place(upper)
    _search(program, ranges[middle:], default)


def _decide(program: _Program, rule: _Rule) -> None:
    other = object()
    for condition in rule.conditions:
        _compare(program, condition, other)
    program.add(_RETURN, rule.action)
    program.place(other)


def _compare(program: _Program, condition: _Condition, other: object) -> None:
    """Go on behind the comparison if it holds, else to `other`: 64 bits, by a machine whose words have 32."""
    low = _OFFSET_ARGS + 8 * condition.argument
    high = low + 4
    value, operator, holds = condition.value, condition.operator, object()
    if operator == "SCMP_CMP_MASKED_EQ":
        for offset, shift in ((high, 32), (low, 0)):
            program.add(_LOAD, offset)
            program.add(_ALU_AND, value >> shift & 0xFFFFFFFF)
            program.add(_EQUAL, condition.value_two >> shift & 0xFFFFFFFF, no=other)
        return
    words = (value >> 32, value & 0xFFFFFFFF)
    program.add(_LOAD, high)
    if operator in {"SCMP_CMP_EQ", "SCMP_CMP_NE"}:
        differs = other if operator == "SCMP_CMP_EQ" else holds
        program.add(_EQUAL, words[0], no=differs)
        program.add(_LOAD, low)
        program.add(_EQUAL, words[1], no=differs)
        if operator == "SCMP_CMP_NE":
            program.jump(other)
    else:
        greater, less = (holds, other) if operator in {"SCMP_CMP_GT", "SCMP_CMP_GE"} else (other, holds)
        program.add(_GREATER, words[0], yes=greater)
        program.add(_EQUAL, words[0], no=less)
        program.add(_LOAD, low)
        last = _GREATER if operator in {"SCMP_CMP_GT", "SCMP_CMP_LE"} else _GREATER_EQUAL
        program.add(last, words[1], yes=greater, no=less)
    program.place(holds)
