"""Makes programs that try system calls and print what the kernel answered; they need nothing of an image."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_BASE = 0x400000
_HEADERS = 64 + 56
_MASK = (1 << 64) - 1


class Call(NamedTuple):
    """A system call by its numbers on x86_64 and aarch64, and its arguments."""

    x86_64: int
    aarch64: int
    arguments: tuple[int, ...] = ()


DATA = _BASE + _HEADERS
"""The address of a program's data."""


def program(calls: Sequence[Call], machine: str, data: bytes = b"") -> bytes:
    """Return a static ELF program that makes the calls in their order, and prints each result as 8 bytes.

    Args:
        calls: What it tries; all of them in one process.
        machine: The processor architecture, as `uname -m` prints it: "x86_64" or "aarch64".
        data: What lies at the address `DATA`, for calls that take a pointer.
    """
    make, leave, kind = (_x86, _x86_exit(), 62) if machine == "x86_64" else (_arm, _arm_exit(), 183)
    number = [getattr(call, machine) for call in calls]
    code = b"".join(make(each, call.arguments) for each, call in zip(number, calls, strict=True)) + leave
    return _elf(code, kind, data)


def foreign_program() -> bytes:
    """Return a program for x86_64 that ends well only if the kernel serves a call of the 32-bit ABI."""
    # getpid by int 0x80; a result below 1 is no pid, and the exit code is 1.
    code = b"\xb8\x14\x00\x00\x00\xcd\x80" + b"\x31\xff\x83\xf8\x00\x7f\x02\xff\xc7" + b"\xb8\x3c\x00\x00\x00\x0f\x05"
    return _elf(code, 62)


def results(output: bytes) -> list[int]:
    """Return what a program printed: a result of each call, an errno below zero."""
    return [value for (value,) in struct.iter_unpack("<q", output)]


def _elf(code: bytes, machine: int, data: bytes = b"") -> bytes:
    data += bytes(-len(data) % 16)
    size = _HEADERS + len(data) + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, DATA + len(data), 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000) + data + code


def _x86(number: int, arguments: Sequence[int]) -> bytes:
    # mov rdi, rsi, rdx, r10, r8, r9 and rax; syscall
    registers = (b"\x48\xbf", b"\x48\xbe", b"\x48\xba", b"\x49\xba", b"\x49\xb8", b"\x49\xb9")
    code = b"".join(move + struct.pack("<Q", value & _MASK) for move, value in zip(registers, arguments, strict=False))
    code += b"\x48\xb8" + struct.pack("<Q", number) + b"\x0f\x05"
    # push rax; write(1, rsp, 8); pop rax
    return code + b"\x50\xbf\x01\x00\x00\x00\x48\x89\xe6\xba\x08\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05\x58"


def _x86_exit() -> bytes:
    return b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05"


def _arm_move(register: int, value: int) -> bytes:
    # movz, then movk for each further 16 bits
    words = [(value & _MASK) >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
    codes = [(0xD2800000 if not part else 0xF2800000) | part << 21 | words[part] << 5 | register for part in range(4)]
    return struct.pack("<4I", *codes)


def _arm(number: int, arguments: Sequence[int]) -> bytes:
    code = b"".join(_arm_move(register, value) for register, value in enumerate(arguments))
    code += _arm_move(8, number) + struct.pack("<I", 0xD4000001)  # svc #0
    # str x0, [sp, #-16]!; write(1, sp, 8); add sp, sp, #16
    code += struct.pack("<I", 0xF81F0FE0) + _arm_move(0, 1) + struct.pack("<I", 0x910003E1) + _arm_move(2, 8)
    return code + _arm_move(8, 64) + struct.pack("<II", 0xD4000001, 0x910043FF)


def _arm_exit() -> bytes:
    return _arm_move(0, 0) + _arm_move(8, 93) + struct.pack("<I", 0xD4000001)
