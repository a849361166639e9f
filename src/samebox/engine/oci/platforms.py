"""Whether an engine's host runs programs for another processor than its own, which only a try tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.engine.program import agent_program
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping


def check_runnable(
    machine: str,
    platform: str,
    *,
    engine: str,
    where: str,
    host: str,
    known: MutableMapping[str, str],
    attempt: Callable[[], str],
) -> None:
    """Refuse an image whose programs an engine's host can't run.

    Nothing is tried for one of the host's own platform. For another the agent itself is run once, which needs an
    emulator that the kernel knows of (binfmt_misc).

    Args:
        machine: The machine of the agent for the image.
        platform: What the image says of itself.
        engine: The engine's name.
        where: Which engine and where: "Docker at unix:///run/docker.sock".
        host: The processor architecture of the engine's host; "": this host's.
        known: What was found before, by machine: why its programs can't be run; "": they can.
        attempt: Runs the agent, and returns why it could not be run, or "".

    Raises:
        UnsupportedError: It can't run them.
    """
    own = agent_program(host or None).machine
    if machine == own:
        return
    if machine not in known:
        known[machine] = attempt()
    if reason := known[machine]:
        raise UnsupportedError(
            Capability.PLATFORM,
            engine,
            f"the image is of {platform}, whose programs the {own} host of {where} can't run ({reason}); install an "
            "emulator there (qemu-user-static with binfmt-support), or take an image of its own platform",
        )
