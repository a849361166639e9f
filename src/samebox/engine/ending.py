"""describe_end: the end of a sandbox in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samebox.engine.contract import SandboxStatus

_KILLED = 137
_ENDED_BY_INIT = {90: "nothing was asked of it for its idle_timeout", 91: "its max_lifetime was over"}


def describe_end(status: SandboxStatus, memory: int | None = None) -> str:
    """Return in words how a sandbox ended.

    Args:
        status: What the engine tells of the sandbox.
        memory: The sandbox's limit in bytes, if it has one that is kept.
    """
    if status.out_of_memory:
        return f"the kernel ended it as its memory was used up{_raise(memory)}"
    if status.exit_code in _ENDED_BY_INIT:
        return f"it ended by itself, as {_ENDED_BY_INIT[status.exit_code]}"
    code = "" if status.exit_code is None else f" with exit code {status.exit_code}"
    # Podman's conmon does not see everywhere what the kernel did.
    perhaps = maybe_memory(memory) if status.exit_code == _KILLED else ""
    return f"it was stopped{code}{perhaps}"


def maybe_memory(memory: int | None) -> str:
    """Return the words for an end whose reason may be the memory; "" where the sandbox has no limit."""
    return f"; if nobody stopped it, its memory may be used up{_raise(memory)}" if memory is not None else ""


def _raise(memory: int | None) -> str:
    limit = f", its limit of {memory / 2**20:g} MiB" if memory is not None else ""
    return f"{limit}; give it more, as memory='4g'"
