"""posture: how an engine's sandbox is isolated, read from inside, and what access to the engine itself gives away."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from samebox.errors import SandboxError

if TYPE_CHECKING:
    from samebox.engine import EngineInfo
    from samebox.sandbox.sandbox import Sandbox

_DEADLINE = 20.0
_SECCOMP = {"0": "none", "1": "strict", "2": "a filter"}
_CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]


def posture(box: Sandbox, info: EngineInfo) -> dict[str, str]:
    """Return a sandbox's isolation as it is seen from inside: answers by their questions.

    Args:
        box: A sandbox with the engine's defaults.
        info: The facts about the sandbox's engine.
    """
    lines = (line.partition(":") for line in _read(box, "status").splitlines())
    status = {name: value.strip() for name, _, value in lines}
    uid = status.get("Uid", "?").split()[0]
    maps = _read(box, "uid_map").split()
    links = [name for name in ("lo", "eth0", "tap0") if _exists(box, f"/sys/class/net/{name}")]
    network = [line.partition(":")[0].strip() for line in _read(box, "net/dev").splitlines()[2:]] or links
    return {
        "isolation": info.isolation.value,
        "the engine runs as": "an ordinary user" if info.rootless else "root",
        "commands run as (inside)": "root" if uid == "0" else f"uid {uid}",
        "which is on the host": _outside(uid, maps),
        "user namespace": _namespace(maps),
        "effective capabilities (CapEff)": _capabilities(status.get("CapEff", "")),
        "bounding set (CapBnd)": _capabilities(status.get("CapBnd", "")),
        "seccomp": _SECCOMP.get(status.get("Seccomp", ""), "unknown"),
        "no new privileges": {"0": "no", "1": "yes"}.get(status.get("NoNewPrivs", ""), "unknown"),
        "network interfaces": ", ".join(network) or "none can be seen",
        "processes in sight": str(_processes(box)),
        "not enforced here": "; ".join(f"{name}: {why}" for name, why in box.unenforced.items()) or "nothing",
        "who gets at the engine": door(info),
    }


def door(info: EngineInfo) -> str:
    """Return who can use the engine's own address, and what they gain."""
    gain = (
        "the user that the engine runs as, with all files of that user"
        if info.rootless
        else "root on the host: a container can mount the host's root"
    )
    url = urlsplit(info.address)
    if url.scheme in {"tcp", "http"}:
        return f"everybody who reaches {url.netloc}, without TLS; and with it {gain}"
    if url.scheme in {"https", "ssh"}:
        return f"whoever has the key for {url.hostname}; and with it {gain}"
    if url.scheme not in {"unix", "http+unix"}:
        return "there is no socket: it is a program that runs with the caller's own rights"
    try:
        found = Path(url.path).stat()
    except OSError as error:
        return f"the socket can't be looked at ({error.strerror}); whoever can open it gets {gain}"
    who = [_name(found.st_uid, pwd.getpwuid)]
    if found.st_mode & stat.S_IWGRP:
        who.append(f"the group {_name(found.st_gid, grp.getgrgid)}")
    if found.st_mode & stat.S_IWOTH:
        who = ["everybody who gets into its directory"]
    return f"{' and '.join(who)} (mode {stat.S_IMODE(found.st_mode):o}); whoever can open the socket gets {gain}"


def _name(number: int, find: object) -> str:
    try:
        return str(find(number)[0])  # type: ignore[operator]
    except KeyError:
        return str(number)


def _read(box: Sandbox, name: str) -> str:
    """Return a file of a command's own directory in /proc, or of the agent's directory where the image has no `cat`."""
    path = f"/proc/self/{name}"
    with contextlib.suppress(SandboxError):
        result = box.exec(["cat", path], timeout=_DEADLINE)
        if result.ok:
            return result.text
    with contextlib.suppress(SandboxError):
        return box.read_text(path)
    return ""


def _exists(box: Sandbox, path: str) -> bool:
    with contextlib.suppress(SandboxError):
        return box.exists(path)
    return False


def _processes(box: Sandbox) -> int | str:
    with contextlib.suppress(SandboxError):
        return sum(entry.name.isdigit() for entry in box.list_dir("/proc"))
    return "unknown"


def _outside(uid: str, maps: list[str]) -> str:
    """Return the uid on the outer side of a uid map: the host's uid, if samebox runs in the first user namespace."""
    for inner, outer, count in zip(maps[::3], maps[1::3], maps[2::3], strict=False):
        if uid.isdigit() and int(inner) <= int(uid) < int(inner) + int(count):
            found = int(outer) + int(uid) - int(inner)
            if found == 0:
                return "root"
            return f"uid {found}" + (" (the caller)" if found == os.geteuid() else "")
    return "unknown"


def _namespace(maps: list[str]) -> str:
    if not maps:
        return "unknown"
    if maps == ["0", "0", "4294967295"]:
        return "the host's own"
    ranges = [" ".join(maps[at : at + 3]) for at in range(0, len(maps), 3)]
    return f"one of its own: {', '.join(ranges)} (inside, outside, count)"


def _capabilities(text: str) -> str:
    if not text:
        return "unknown"
    bits = int(text, 16)
    if not bits:
        return "none"
    names = [name for number, name in enumerate(_CAPABILITIES) if bits >> number & 1]
    return "all" if len(names) == len(_CAPABILITIES) else f"{len(names)}: {', '.join(names)}"
