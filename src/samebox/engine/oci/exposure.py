"""What a second container does to find out whether sandboxes of a service reach one another, and what that tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.engine.labels import MANAGED, OWNER
from samebox.engine.program import GUEST_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

NOBODY = "65534:65534"
_UNREACHED = 3
"""The exit code of `agent reach` where nothing came back."""


def reach_argv(address: str) -> list[str]:
    """Return the command line of the container that tries to reach a sandbox's address."""
    return [GUEST_PATH, "reach", address]


def reach_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of that container, from the sandbox's own, so that `samebox prune` finds it."""
    return {name: labels[name] for name in (MANAGED, OWNER) if name in labels}


def is_apart(code: int) -> bool:
    """Return whether what tried to reach a sandbox has told by its exit code that nothing came back."""
    return code == _UNREACHED


def exposed(engine: str, code: int, cause: str) -> str | None:
    """Return why sandboxes can be reached by others; None if they can't.

    Args:
        engine: Which engine and where.
        code: The exit code of the container that tried.
        cause: What it may be due to, and the remedy.
    """
    if is_apart(code):
        return None
    if code != 0:
        return f"it could not be found out: what tried it on {engine} ended with exit code {code}"
    return f"{engine} does not keep sandboxes apart, {cause}, or use network=False"
