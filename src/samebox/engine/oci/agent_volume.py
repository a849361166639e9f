"""AgentVolumes: the agent in a named volume of a service, one for each agent, read-only in every sandbox.

No path of this host is involved, so that it works with a remote service too, and no program of an image, so that it
works with any.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Protocol

from samebox.capabilities import Isolation
from samebox.engine.oci.default_profile import default_profile_text
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.program import READABLE, UNREADABLE, agent_program
from samebox.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox.config.model import SandboxConfig
    from samebox.engine.program import AgentProgram

LABEL = "samebox.agent"
"""The label, with the agent's digest, of all that is there for the agent's sake."""
PREFIX = "samebox-agent-"
WAIT = 20.0
"""How long another process may take for a delivery before it is held for dead, in seconds."""


class AgentStore(Protocol):
    """What an engine does with the volume of an agent, by a container that is made and never started."""

    @property
    def engine(self) -> str:
        """Which engine and where, for errors: "Docker at unix:///run/docker.sock"."""

    def make_installer(self, program: AgentProgram, image: str) -> str:
        """Create a container with the volume, writable, and return its id; the volume is made if it is not there.

        Args:
            program: The agent; container and volume have the name that `volume_name` gives.
            image: The id of any image, as a container has to have one.

        Raises:
            RefusedError: Among others, with `name_taken`, where such a container is there.
        """

    def held(self, installer: str, program: AgentProgram) -> bytes:
        """Return the volume's agent, at most one byte more than the agent has; b"" if its mode is not the program's."""

    def put(self, installer: str, data: bytes, mode: int) -> None:
        """Put the agent into the volume, with permission bits; no running agent may suffer by it."""

    def remove(self, installer: str) -> None:
        """Remove a container by its id or name; nothing happens if it is not there."""


def delivered_agent(architecture: str | None, isolation: Isolation) -> AgentProgram:
    """Return the agent for an image's architecture, with the mode that a sandbox of that isolation needs."""
    mode = READABLE if isolation is Isolation.USER_KERNEL else UNREADABLE
    return replace(agent_program(architecture), mode=mode)


@cache
def volume_name(program: AgentProgram) -> str:
    """Return the name of an agent's volume, which has the seccomp profiles too where an engine needs files."""
    profiles = [default_profile_text(lasting=lasting) for lasting in (False, True)]
    return PREFIX + hashlib.sha256(repr((program.digest, program.mode, profiles)).encode()).hexdigest()[:16]


def check_volume_names(config: SandboxConfig) -> None:
    """Refuse a config that would mount the agent's own volume, writable for a sandbox.

    Raises:
        ConfigError: A volume has such a name.
    """
    for mount in config.mounts:
        if mount.type == "volume" and mount.source.startswith(PREFIX):
            msg = f"wrong config: mounts: {mount.source!r} is a volume of the agent's; choose another name"
            raise ConfigError(msg)


def deliver(store: AgentStore, program: AgentProgram, image: str) -> bool:
    """Put an agent into its volume unless it is there and whole.

    Args:
        store: The service's volumes.
        program: The agent.
        image: The id of any image of the agent's architecture.

    Returns:
        Whether it was wrong, or has just been put right by another process.

    Raises:
        EngineError: It can't be delivered.
    """
    data = program.data
    if hashlib.sha256(data).hexdigest() != program.digest:
        msg = f"{program.path} has changed since this process began; start the process anew"
        raise EngineError(msg)
    installer, waited = _locked_installer(store, program, image)
    try:
        if store.held(installer, program) == data:
            return waited
        store.put(installer, data, program.mode)
        if store.held(installer, program) != data:
            msg = (
                f"the agent was put into the volume {volume_name(program)} of {store.engine}, but what is there is not "
                "the same. Look for a full disk there, and remove the volume"
            )
            raise EngineError(msg)
    finally:
        store.remove(installer)
    return True


def _locked_installer(store: AgentStore, program: AgentProgram, image: str) -> tuple[str, bool]:
    """Make the container that delivers; its name is the lock among all processes, on all hosts, that use the service.

    Returns:
        Its id, and whether another one was waited for.
    """
    waited = False
    while True:
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            try:
                return store.make_installer(program, image), waited
            except RefusedError as error:
                if not error.name_taken:
                    raise
            waited = True
            time.sleep(0.05)
        store.remove(volume_name(program))  # its process was killed in the middle


class AgentVolumes:
    """The agents that were delivered to one service, or found there, for this object."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[AgentProgram, str]] = {}
        """By volume, each with an image for a container to deliver it with."""

    def ensure(self, store: AgentStore, program: AgentProgram, image: str, seems_whole: Callable[[], bool]) -> None:
        """See that a volume holds its agent; one look for each agent.

        Args:
            store: The service's volumes.
            program: The agent.
            image: The id of an image of its architecture.
            seems_whole: A look at what is there that costs less than reading it. It may be wrong: the first exchange
                proves the agent, and what is broken is healed then.

        Raises:
            EngineError: The agent can't be delivered.
        """
        name = volume_name(program)
        if name not in self._used and not seems_whole():
            deliver(store, program, image)
        self._used[name] = program, image  # an earlier image may be removed by now

    def heal(self, store: AgentStore) -> bool:
        """Compare what the volumes in use hold with the agents of this installation; deliver anew what differs.

        Args:
            store: The service's volumes.

        Returns:
            Whether anything was wrong, so that another try makes sense.

        Raises:
            EngineError: An agent can't be delivered.
        """
        try:
            wrong = [deliver(store, program, image) for program, image in list(self._used.values())]
        except RefusedError as error:
            if error.status != 404:
                raise
            return False  # the image was removed; what went wrong before is the error to show
        return any(wrong)
