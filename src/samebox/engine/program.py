"""AgentProgram: the agent's binaries in this installation, and the command lines that start the agent."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.errors import SandboxError, descriptor_error

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig

MOUNT_POINT = "/.samebox"
"""The path in every sandbox of the agent's directory, read-only."""
UNREADABLE, READABLE = 0o111, 0o555
"""Modes of the agent where it is delivered. What nobody inside may read, the kernel keeps code of the same user from
tracing, from its first instruction on, and closes what /proc shows of it: ptrace(2), PR_SET_DUMPABLE in prctl(2).
gVisor starts no program that it can't read."""
GUEST_PATH = f"{MOUNT_POINT}/agent"
"""The agent's path inside a sandbox."""

_BIN = Path(__file__).parents[1] / "agent" / "bin"
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class AgentProgram:
    """The agent for one processor architecture."""

    path: Path
    """The binary on this host."""
    machine: str
    """The processor architecture: "x86_64" or "aarch64"."""
    digest: str
    """The SHA-256 of the binary, in hex."""
    mode: int = UNREADABLE
    """The permission bits that it gets where it is delivered."""

    @property
    def data(self) -> bytes:
        """The binary's content.

        Raises:
            EngineError: It can't be read, as where this process has too many files open.
        """
        return _content(self.path)


@cache
def agent_program(machine: str | None = None) -> AgentProgram:
    """Return the agent for a processor architecture.

    Args:
        machine: The architecture as `uname -m` or Docker name it (x86_64, amd64, aarch64, arm64); default: this host's.

    Returns:
        The program.

    Raises:
        SandboxError: There is no agent for the architecture in this installation, or it can't be read.
    """
    asked = machine or platform.machine()
    known = _MACHINES.get(asked.lower())
    path = _BIN / f"agent-{known}"
    if known is None or not path.is_file():
        have = ", ".join(sorted(found.name.removeprefix("agent-") for found in _BIN.glob("agent-*"))) or "none"
        msg = (
            f"no agent for the processor architecture {asked!r} in {_BIN}; there is: {have}. Install samebox from a "
            "release wheel, which has x86_64 and aarch64, or build it with `python src/samebox/agent/build_agent.py`."
        )
        raise SandboxError(msg)
    return AgentProgram(path, known, hashlib.sha256(_content(path)).hexdigest())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise descriptor_error(error, "the agent of this installation can't be read") from None


def init_argv(config: SandboxConfig, *, program: str = GUEST_PATH) -> list[str]:
    """Return the command line of a sandbox's first process.

    Args:
        config: The config, whose `idle_timeout` and `max_lifetime` are handed on.
        program: The agent's path where the command runs.

    Returns:
        The command line, program first.
    """
    argv = [program, "init"]
    if config.idle_timeout is not None:
        argv += ["--idle-timeout", str(max(1, round(config.idle_timeout * 1000)))]
    if config.max_lifetime is not None:
        argv += ["--max-lifetime", str(max(1, round(config.max_lifetime * 1000)))]
    return argv


SERVE_ARGV = (GUEST_PATH, "serve")
"""The command line of an agent that serves one connection on its stdin and stdout."""
