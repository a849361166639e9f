"""describe_end: the end of a sandbox in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samebox.engine.contract import SandboxStatus

_ENDED_BY_INIT = {90: "nothing was asked of it for its idle_timeout", 91: "its max_lifetime was over"}


def describe_end(status: SandboxStatus) -> str:
    """Return in words how a sandbox ended."""
    if status.out_of_memory:
        return "it ran out of memory (give it a larger `memory`)"
    if status.exit_code in _ENDED_BY_INIT:
        return f"it ended by itself, as {_ENDED_BY_INIT[status.exit_code]}"
    code = "" if status.exit_code is None else f" with exit code {status.exit_code}"
    return f"it was stopped{code}"
