"""check_tier: the tier of isolation that a sandbox was made at, against the one that is asked for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.capabilities import Isolation
from samebox.config.model import STRONGEST
from samebox.engine.labels import ISOLATION
from samebox.engine.requirements import weakest
from samebox.errors import SandboxExistsError

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig
    from samebox.engine import EngineInfo, SandboxStatus


def check_tier(config: SandboxConfig, info: EngineInfo, status: SandboxStatus) -> None:
    """Refuse a sandbox that was made with a weaker wall than is asked for, as with another runtime of the engine.

    The record of its config does not tell, as the engine's options are no part of it.

    Args:
        config: What is asked for.
        info: The engine that was taken, whose tier is what "strongest" asks for.
        status: The sandbox.

    Raises:
        SandboxExistsError: Its wall is weaker.
    """
    made = status.labels.get(ISOLATION, "")
    tier = Isolation(made) if made in list(Isolation) else Isolation.NONE
    floor = info.isolation if config.isolation == STRONGEST else weakest(config)
    if tier < floor:
        msg = (
            f"sandbox {status.name!r} on {info.name} was made at the tier {made or 'unknown'}, and {floor!s} is asked "
            "for; accept its tier with isolation=, use another name, or on_conflict='replace'"
        )
        raise SandboxExistsError(msg)
