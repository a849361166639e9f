"""Cgroup: limits for all processes of a sandbox together, where this host lets us make control groups.

As root with writable hierarchies, of version 2 or 1. An ordinary user has none that its processes may enter from where
they are. A group's name has its owner's pid and start time, so that what a killed process left is known and removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.errors import EngineError
from samebox_bubblewrap.uninterruptible import uninterruptible

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GROUPS", "Cgroup", "Hierarchies", "hierarchies"]

GROUPS = "/sys/fs/cgroup"
"""Where a sandbox sees its group."""

_CONTROLLERS = ("pids", "memory", "cpu")
_SWAP_FILES = {2: "memory.swap.max", 1: "memory.memsw.limit_in_bytes"}
_PERIOD = 100_000  # µs, the kernel's default
_PREFIX = "samebox-"
_NAME = re.compile(_PREFIX + r"(\d+)-(\d+)-\d+")
_COUNTER = count()
_late: set[Path] = set()
"""Groups that could not be removed yet."""


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where groups can be made."""

    parents: dict[str, Path]
    """The directory for our groups, by controller; all the same with version 2."""
    missing: dict[str, str]
    """Why a controller, or "swap", can't be used."""
    version: int
    """2 or 1; 0 where there is none."""
    own: bool = False
    """Whether they are this process's own groups, so that a thread that has entered one of ours can come back."""


class Cgroup:
    """The control groups of one sandbox: one for all controllers with version 2, one for each with version 1.

    Args:
        where: Where groups can be made.
        pids: Most processes, or None.
        memory: Most memory in bytes, or None.
        swap: Most memory and swap together in bytes; None: as `memory`.
        cpus: Most processor time in processors, or None.

    Raises:
        EngineError: The kernel refuses.
    """

    def __init__(
        self,
        where: Hierarchies,
        *,
        pids: int | None = None,
        memory: int | None = None,
        swap: int | None = None,
        cpus: float | None = None,
    ) -> None:
        self._version = where.version
        self._where = where
        self._pids = pids
        self.by_thread = where.version == 1 and where.own
        """Whether `entered` works, which is quick; else `add` does it."""
        self._directories: dict[str, Path] = {}
        name = f"{_PREFIX}{os.getpid()}-{_start_time(os.getpid())}-{next(_COUNTER)}"
        wanted = {"pids": pids, "memory": memory, "cpu": cpus}
        try:
            for controller in (key for key, value in wanted.items() if value is not None):
                directory = where.parents[controller] / name
                with contextlib.suppress(FileExistsError):
                    directory.mkdir()
                self._directories[controller] = directory
            if pids is not None:
                # Two more for the thread that enters and for bwrap, which stays outside with `add`.
                self._write("pids", "pids.max", pids + 2 * self.by_thread)
            if memory is not None:
                self._limit_memory(memory, memory if swap is None else swap)
            if cpus is not None:
                self._limit_cpu(cpus)
        except BaseException as error:
            self.remove()
            if isinstance(error, OSError):
                raise EngineError(f"the control group for the sandbox's limits can't be made: {error}") from error
            raise

    def _write(self, controller: str, file: str, value: object) -> None:
        (self._directories[controller] / file).write_text(f"{value}\n", encoding="ascii")

    def _limit_memory(self, limit: int, both: int) -> None:
        version_2 = self._version == 2
        self._write("memory", "memory.max" if version_2 else "memory.limit_in_bytes", limit)
        # Without this there would be as much swap on top as the host has: "most memory" would mean nothing.
        file, value = _SWAP_FILES[self._version], both - limit if version_2 else both
        if (self._directories["memory"] / file).exists():
            self._write("memory", file, value)

    def _limit_cpu(self, cpus: float) -> None:
        quota = max(1000, round(cpus * _PERIOD))
        if self._version == 2:
            self._write("cpu", "cpu.max", f"{quota} {_PERIOD}")
        else:
            self._write("cpu", "cpu.cfs_period_us", _PERIOD)
            self._write("cpu", "cpu.cfs_quota_us", quota)

    def add(self, pid: int) -> None:
        """Put a process into the groups; what it starts later is in them too.

        It takes some ms, as the kernel waits until no process forks or ends (cgroup_attach_lock).

        Raises:
            OSError: It has ended, or the kernel refuses.
        """
        for directory in set(self._directories.values()):
            (directory / "cgroup.procs").write_text(f"{pid}\n", encoding="ascii")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in the groups with the calling thread alone, so that what it forks meanwhile begins there.

        With version 1 a thread may move itself, for which the kernel waits for nobody: 0.3 ms instead of 10 and more.

        Raises:
            OSError: The kernel refuses.
        """
        try:
            for directory in self._directories.values():
                (directory / "tasks").write_text("0\n", encoding="ascii")
            yield
        finally:
            for controller in self._directories:
                (self._where.parents[controller] / "tasks").write_text("0\n", encoding="ascii")
        if self._pids is not None:
            self._write("pids", "pids.max", self._pids + 1)

    @property
    def view(self) -> list[str]:
        """The words for bwrap that show the group with the memory limit inside, read-only, where containers have it.

        Programs fit themselves to their limit by it, and the agent counts there what the kernel has killed.
        """
        directory = self._directories.get("memory")
        if directory is None:
            return []
        return ["--ro-bind", str(directory), GROUPS if self._version == 2 else f"{GROUPS}/memory"]

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel has killed a process for the memory limit, whichever it was."""
        directory = self._directories.get("memory")
        if directory is None:
            return False
        file = directory / ("memory.events" if self._version == 2 else "memory.oom_control")
        try:
            return any(
                re.fullmatch(r"oom_kill [1-9]\d*", line) for line in file.read_text(encoding="ascii").splitlines()
            )
        except OSError:
            return False

    def remove(self) -> None:
        """Remove the groups. What has just ended may hold them for some milliseconds.

        The kernel may take longer, as for a million of files in memory: then they are removed with a later one.
        """
        for directory in set(self._directories.values()):
            if not _remove(directory, patience=1.0):
                _late.add(directory)
        self._directories = {}
        for directory in list(_late):
            if _remove(directory, patience=0.0):
                _late.discard(directory)


@cache
def hierarchies() -> Hierarchies:
    """Find out, by making and removing a group, where groups can be made; and remove those of processes that have died.

    Returns:
        What was found. Cached: a host's hierarchies stay as they are.
    """
    return uninterruptible(_find_hierarchies)


def _find_hierarchies() -> Hierarchies:
    mounts = _mounts()
    own = _own_groups()
    parents: dict[str, Path] = {}
    missing: dict[str, str] = {}
    version = 2 if mounts.get("") and _controllers_of(mounts[""]) & set(_CONTROLLERS) else 1
    for controller in _CONTROLLERS:
        try:
            parents[controller] = _unified(mounts[""], controller) if version == 2 else _legacy(mounts, own, controller)
        except (OSError, LookupError) as error:
            missing[controller] = _reason(controller, error)
    if "memory" in missing or not _counts_swap(parents["memory"], version):
        missing["swap"] = missing.get("memory") or "this kernel does not count swap; boot it with swapaccount=1"
    for parent in set(parents.values()):
        _prune(parent)
    at_home = all(
        parent == mounts[key] / own.get(key, "/").lstrip("/") for key, parent in parents.items() if version == 1
    )
    return Hierarchies(parents, missing, version if parents else 0, own=version == 1 and at_home)


def _reason(controller: str, error: Exception) -> str:
    if isinstance(error, LookupError):
        return f"the kernel's {controller} controller is in no control group hierarchy that is mounted here"
    who = "an ordinary user" if os.geteuid() else "root"
    strerror = error.strerror if isinstance(error, OSError) else str(error)
    return (
        f"control groups with the {controller} controller can't be made here as {who} ({strerror}). "
        "Run as root with a writable /sys/fs/cgroup, or use an engine that has limits (docker, podman)"
    )


def _mounts() -> dict[str, Path]:
    """Return the hierarchies' mount points by controller; the unified one is ""."""
    found: dict[str, Path] = {}
    for line in _lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            found.setdefault("", Path(before.split()[4]))
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, Path(before.split()[4]))
    return found


def _own_groups() -> dict[str, str]:
    """Return this process's own groups by controller."""
    own: dict[str, str] = {}
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    return own


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _controllers_of(directory: Path) -> set[str]:
    try:
        return set((directory / "cgroup.controllers").read_text(encoding="ascii").split())
    except OSError:
        return set()


def _unified(mount: Path, controller: str) -> Path:
    """Make the parent of our groups with a controller handed down to it.

    Below the mount's root, as Docker's cgroupfs driver does it: a group that has processes, as our own one, can't hand
    down any.
    """
    if controller not in _controllers_of(mount):
        raise LookupError(controller)
    parent = mount / "samebox"
    _hand_down(mount, controller)
    parent.mkdir(exist_ok=True)
    _hand_down(parent, controller)
    _try(parent)
    return parent


def _hand_down(directory: Path, controller: str) -> None:
    file = directory / "cgroup.subtree_control"
    if controller not in file.read_text(encoding="ascii").split():
        file.write_text(f"+{controller}", encoding="ascii")


def _legacy(mounts: dict[str, Path], own: dict[str, str], controller: str) -> Path:
    """Return the parent of our groups: below our own one, so that its limits hold too."""
    mount = mounts[controller]
    parent = mount / own.get(controller, "/").lstrip("/")
    if not parent.is_dir():  # a container that sees only a part of the hierarchy
        parent = mount
    _try(parent)
    return parent


def _try(parent: Path) -> None:
    _group(parent).rmdir()


def _group(parent: Path) -> Path:
    directory = parent / f"{_PREFIX}{os.getpid()}-{_start_time(os.getpid())}-{next(_COUNTER)}"
    directory.mkdir()
    return directory


def _counts_swap(parent: Path, version: int) -> bool:
    """Tell whether a group has a limit for swap, which is a setting of the kernel of its own."""
    directory = _group(parent)
    try:
        return (directory / _SWAP_FILES[version]).exists()
    finally:
        directory.rmdir()


def _prune(parent: Path) -> None:
    """Remove the groups of owners that have died. One that has processes in it again can't be removed, and stays."""
    for directory in parent.glob(f"{_PREFIX}*"):
        found = _NAME.fullmatch(directory.name)
        if found and _start_time(int(found[1])) != int(found[2]):
            _remove(directory, patience=0.0)


def _start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; -1 if there is none."""
    try:
        # The name before it may have spaces and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return -1


def _remove(directory: Path, patience: float) -> bool:
    """Remove a group, trying for so many seconds; return whether it is gone."""
    end = time.monotonic() + patience
    while True:
        try:
            directory.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        else:
            return True
