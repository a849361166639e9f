"""Footprint: what a process and an engine hold, so that a test can tell what a fault has left behind."""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fault_bed import Service

_SETTLE = 40.0
"""How long what is being removed may still be seen, in seconds."""
_CONTAINERS_OWN = re.compile("[0-9a-f]{64}")
_CONTAINER_GROUP = re.compile("(docker-|libpod-)?[0-9a-f]{64}(\\.scope)?")
_FOREVER = {"MainThread", "samebox-transport", "samebox-bubblewrap"}
"""The threads that a process has once, from the first time that they are needed."""
_NUMBERS = re.compile(r"\d+")


class Footprint:
    """What is held when this is made; what there is beyond it later was left behind.

    Args:
        service: The engine, whose containers, volumes and networks are looked at too.
        directory: Where temporary files are made, or None.
    """

    def __init__(self, service: Service, directory: Path | None = None) -> None:
        self._service = service
        self._directory = directory
        gc.collect()
        self._before = self._held()

    def left(self) -> list[str]:
        """Return what was there not before, and stays for 40 seconds; waits only as long as there is any."""
        deadline = time.monotonic() + _SETTLE
        gc.collect()
        left = self._held() - self._before
        while left and time.monotonic() < deadline:
            time.sleep(0.2)
            gc.collect()
            left &= self._held() - self._before
        return sorted(left.elements())

    def _held(self) -> Counter[str]:
        return Counter([*self._of_this_process(), *self._of_the_engine(), *self._of_the_host()])

    def _of_this_process(self) -> Iterator[str]:
        for thread in threading.enumerate():
            if thread.name in _FOREVER:
                continue
            yield f"thread {_NUMBERS.sub('N', thread.name)}"
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                what = os.readlink(f"/proc/self/fd/{descriptor}")
            except OSError:
                continue
            yield f"descriptor of {_NUMBERS.sub('N', what)}"
        for pid in descendants(os.getpid()):
            yield f"process {_words(pid)}"
        if self._directory is not None:
            for path in self._directory.rglob("*"):
                yield f"file {path.name}"

    def _of_the_engine(self) -> Iterator[str]:
        service = self._service
        if service.is_embedded:
            return
        for what, words in (
            ("container", ("ps", "--all", "--quiet", "--no-trunc")),
            ("volume", ("volume", "ls", "--quiet")),
            ("network", ("network", "ls", "--quiet")),
        ):
            for line in service.program(*words).split():
                yield f"{what} {line}"

    def _of_the_host(self) -> Iterator[str]:
        directory = "docker" if self._service.engine == "docker" else self._service.name
        places = [f"{place}/{directory}/" for place in self._service.bed.places]
        for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
            if any(place in line for place in places) and _CONTAINERS_OWN.search(line):
                yield f"mount {line.split()[4]}"
        own = f"samebox-{os.getpid()}-"
        for path, names, _ in os.walk("/sys/fs/cgroup"):
            for name in names:
                group = Path(path, name)
                if name.startswith(own) or (_CONTAINER_GROUP.fullmatch(name) and _is_empty(group)):
                    yield f"control group {group}"
        for pid in _numbers("/proc"):
            words = _words(pid)
            if "conmon" in words and any(place in words for place in places):
                yield f"process {words}"


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    parents: dict[int, list[int]] = {}
    for number in _numbers("/proc"):
        try:
            stat = Path(f"/proc/{number}/stat").read_bytes()
        except OSError:
            continue
        parents.setdefault(int(stat.rpartition(b")")[2].split()[1]), []).append(number)
    found, looked_at = [], [pid]
    while looked_at:
        children = parents.get(looked_at.pop(), [])
        found += children
        looked_at += children
    return found


def _is_empty(group: Path) -> bool:
    try:
        return not (group / "cgroup.procs").read_text("ascii").strip()
    except OSError:
        return False


def _numbers(directory: str) -> list[int]:
    return [int(name) for name in os.listdir(directory) if name.isdecimal()]


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return ""
