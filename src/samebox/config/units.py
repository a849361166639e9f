"""Size, Tmpfs, Ulimit and LinuxCapability: settings that accept the spellings of docker's command line."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

USER = r"[a-zA-Z0-9_][\w.-]*\$?(:[a-zA-Z0-9_][\w.-]*)?"
"""How a user is spelt, as a regular expression: a name, a uid or uid:gid."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_FACTOR = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}

LINUX_CAPABILITIES = frozenset(
    [
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "WAKE_ALARM",
    ]
)
"""The names of Linux capabilities in capabilities(7), without the prefix CAP_."""


def parse_size(value: Any) -> Any:
    """Turn "512m", "1.5g" or "64KiB" into bytes, in powers of 1024 as docker's command line does.

    A number is returned as it is.

    Raises:
        ValueError: The text is no size.
    """
    if isinstance(value, bool):
        msg = "a size is a number of bytes or a text such as '512m' or '2g'"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError into the field's error
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        msg = "a size is a number of bytes or a text such as '512m' or '2g'"
        raise ValueError(msg)
    return int(float(match[1]) * _FACTOR[match[2].lower()])


Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
"""A number of bytes, or a text such as "512m"."""
LEAST_MEMORY = 16 << 20
"""What a container's runtime, the sandbox's first process and the agent need to start, in bytes."""
LEAST_PIDS = 16
"""How many processes and threads these and one command have, the threads of a container's runtime included."""


def parse_memory(value: Any) -> Any:
    """Turn a size into bytes, and "unlimited" into None.

    Raises:
        ValueError: The text is no size.
    """
    return None if isinstance(value, str) and value.strip() == "unlimited" else parse_size(value)


def _enough_memory(value: int | None) -> int | None:
    if value is not None and value < LEAST_MEMORY:
        msg = "a sandbox needs 16 MiB of memory at least, to start at all; for no limit give 'unlimited'"
        raise ValueError(msg)
    return value


def _enough_pids(value: int) -> int:
    if value < LEAST_PIDS:
        msg = f"a sandbox needs {LEAST_PIDS} processes and threads at least: its first one, the agent's and a command's"
        raise ValueError(msg)
    return value


MemoryLimit = Annotated[int | None, BeforeValidator(parse_memory), AfterValidator(_enough_memory)]
"""A number of bytes, or a text such as "512m"; None or "unlimited" for no limit."""
PidsLimit = Annotated[int, AfterValidator(_enough_pids)]
"""A number of processes."""


def linux_capability(name: Any) -> str:
    """Return a Linux capability's name in its normal form: upper case, without CAP_.

    Raises:
        ValueError: There is no such capability.
    """
    plain = str(name).upper().removeprefix("CAP_")
    if plain != "ALL" and plain not in LINUX_CAPABILITIES:
        msg = "a Linux capability is a name of capabilities(7) such as NET_RAW, or ALL"
        raise ValueError(msg)
    return plain


LinuxCapability = Annotated[str, BeforeValidator(linux_capability)]
"""The name of a Linux capability, such as "NET_RAW" or "CAP_NET_RAW", or "ALL"."""

PACKAGE_MANAGER = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID")
"""The least that apt, dnf and apk need of root: they become other users, and give files to users and groups."""


def _named_sets(names: Any) -> Any:
    if not isinstance(names, list | tuple):
        return names
    found: list[Any] = []
    for name in names:
        found += PACKAGE_MANAGER if name == "package-manager" else [name]
    return list(dict.fromkeys(found))


AddedCapabilities = Annotated[tuple[LinuxCapability, ...], BeforeValidator(_named_sets)]
"""Names of Linux capabilities; "package-manager" stands for those of `PACKAGE_MANAGER`."""


class Tmpfs(BaseModel):
    """A memory file system: how large it may grow, and who may use it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    size: Size | None = None
    """The largest size, in bytes or as "64m"; None: the config's `disk`, else its `memory`."""
    mode: Annotated[int, Field(ge=0, le=0o7777)] = 0o1777
    """The permission bits of the file system's root directory; a text is read as octal."""
    exec: bool = True
    """Whether programs on the file system may be run."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Read docker's spelling, as in "size=64m,mode=1777,noexec"."""
        if value is None:
            return {}
        if isinstance(value, dict) and isinstance(value.get("mode"), str):
            return value | {"mode": int(value["mode"], 8)}
        if not isinstance(value, str):
            return value
        settings: dict[str, Any] = {}
        for option in filter(None, (part.strip() for part in value.split(","))):
            key, equals, text = option.partition("=")
            if key in {"rw", "nosuid", "nodev"} and not equals:
                continue  # samebox mounts with these options anyway
            if key in {"exec", "noexec"} and not equals:
                settings["exec"] = key == "exec"
            elif key == "mode" and re.fullmatch("[0-7]{1,5}", text):
                settings["mode"] = int(text, 8)
            elif key == "size" and text:
                settings["size"] = text
            else:
                msg = f"a tmpfs option is size=, mode=, exec or noexec, not {option!r}"
                raise ValueError(msg)
        return settings


class Ulimit(BaseModel):
    """A resource limit of each process; accepts (soft, hard), "soft:hard", or one number for both."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    soft: Annotated[int, Field(ge=-1)]
    """The limit that is enforced; -1: no limit."""
    hard: Annotated[int, Field(ge=-1)]
    """How far a process may raise its soft limit; -1: no limit."""

    @model_validator(mode="before")
    @classmethod
    def _from_spelling(cls, value: Any) -> Any:
        if isinstance(value, str):
            soft, colon, hard = value.partition(":")
            value = (soft, hard if colon else soft)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = (value, value)
        if isinstance(value, tuple | list) and len(value) == 2:
            return {"soft": value[0], "hard": value[1]}
        return value

    @model_validator(mode="after")
    def _order(self) -> Ulimit:
        if self.hard != -1 and (self.soft == -1 or self.soft > self.hard):
            raise ValueError("a ulimit's soft value is at most its hard one")
        return self


ULIMITS = frozenset(
    [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ]
)
"""The names of resource limits that docker's command line knows."""


def pairs(value: Any, separator: str = "=") -> Any:
    """Turn a list of "NAME=VALUE" into a mapping; return anything but a list as is.

    Raises:
        ValueError: An entry has no separator; the error's text does not show the entry.
    """
    if not isinstance(value, list | tuple):
        return value
    found: dict[str, str] = {}
    for text in value:
        name, found_separator, rest = str(text).partition(separator)
        if not found_separator:
            raise ValueError(f"an entry of the list is NAME{separator}VALUE; one has no {separator!r}")
        found[name] = rest
    return found
