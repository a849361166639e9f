"""Lifecycle: one sandbox from the choice of its engine to its removal, shared by Sandbox and AsyncSandbox."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from samebox.agent.connections import AgentConnections
from samebox.agent.guest import AgentGuest
from samebox.capabilities import Capability
from samebox.config.ports import container_port
from samebox.config.record import differences, record
from samebox.config.reference import check_new_name
from samebox.engine.ending import describe_end
from samebox.engine.labels import ATTEMPT, CONFIG, ISOLATION, KEEP, MANAGED, NAME, OWNER, VERSION
from samebox.engine.requirements import lacking
from samebox.engine.selection import Choice, Selection
from samebox.errors import (
    ConfigError,
    ConnectionLostError,
    EngineError,
    ImageNotFoundError,
    IsolationError,
    ProtocolError,
    SandboxClosedError,
    SandboxError,
    SandboxExistsError,
    SandboxGoneError,
    SandboxNotFoundError,
    UnsupportedError,
    descriptor_error,
)
from samebox.guest.operation import Blocking
from samebox.images.presets import with_runtime
from samebox.sandbox.disposal import Disposal, hand_over
from samebox.sandbox.owner import Owner
from samebox.sandbox.stages import Stages
from samebox.sandbox.summary import summary
from samebox.sandbox.tier import check_tier
from samebox.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samebox.config.model import SandboxConfig
    from samebox.engine import Engine, EngineInfo, SandboxStatus
    from samebox.guest.guest import Guest


T = TypeVar("T")
_PATIENCE = 60.0
"""How long a name is tried for that other processes take and give back, in seconds."""
_CREATION = 30.0
"""How long a sandbox may take from its creation to its start before it counts as abandoned, in seconds."""
_SETTLING = 2.0
"""How long an engine may take to tell that a sandbox which can't be reached has ended, in seconds."""
_PAUSE = 0.05


def _new_name() -> str:
    return f"samebox-{secrets.token_hex(6)}"


def silent(_line: str) -> None:
    """Take a line of progress and print nothing."""


class Lifecycle:
    """Makes a sandbox on its first use, and removes it at the end unless it was attached to or is to be kept.

    Args:
        config: The sandbox's config.
        progress: Takes what is being done, a line at a time.
    """

    def __init__(self, config: SandboxConfig, progress: Callable[[str], None] | None = None) -> None:
        self.config = with_runtime(config)
        self._progress = progress or silent
        self.attach_only = False
        """Whether the sandbox has to be there already."""
        self._lock = threading.RLock()  # a signal's handler may close what this thread starts
        self._pid = os.getpid()
        self._choice: Choice | None = None
        self._selection: Selection | None = None
        self._id = ""
        self._name = config.name or _new_name()
        self._attached = False
        self._connections: AgentConnections | None = None
        self._guest: AgentGuest | None = None
        self._closed = self._destroyed = False
        self._disposal: Disposal | None = None

    @property
    def name(self) -> str:
        """The sandbox's name."""
        return self._name

    @property
    def id(self) -> str:
        """The engine's id of the sandbox; "" before the sandbox's start."""
        return self._id

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def attached(self) -> bool:
        """Whether the sandbox was there already, and was attached to."""
        return self._attached

    @property
    def engine(self) -> Engine | None:
        """The sandbox's engine; None before the sandbox's start."""
        return self._selection.engine if self._selection else None

    @property
    def info(self) -> EngineInfo | None:
        """The facts about the engine on this host; None before the sandbox's start."""
        return self._selection.info if self._selection else None

    @property
    def unenforced(self) -> Mapping[Capability, str]:
        """The default hardening that the engine can't enforce on this host, each capability with the reason."""
        return self._selection.unenforced if self._selection else {}

    @property
    def summary(self) -> str:
        """What was chosen, in one line: the engine, its wall, the limits, what is not enforced; "" before the start."""
        return summary(self.config, self._selection) if self._selection else ""

    async def guest(self) -> Guest:
        """Return the guest, which runs commands and handles files; start the sandbox first if it was not started."""
        if self._guest is None or self._closed:
            await Blocking(self.start)
        assert self._guest is not None  # noqa: S101 - start sets the guest or raises
        return self._guest

    def start(self) -> None:
        """Choose the engine, make or attach to the sandbox and reach its agent; nothing happens on a second call.

        Raises:
            SandboxError: The sandbox could not be started; nothing is left behind.
        """
        if self._guest is None:
            self._belong_here()
        with self._lock:
            if self._closed:
                msg = f"sandbox {self._name!r} was closed"
                raise SandboxClosedError(msg)
            if self._guest is not None:
                return
            try:
                self._connections = self._connected(self._chosen())
                self._look_at_the_network(self._started())
            except BaseException as error:
                if self._selection is not None:
                    with contextlib.suppress(SandboxError, OSError):
                        self._selection.engine.close()  # idle connections, which nobody may come to use or to close
                if isinstance(error, OSError) and not isinstance(error, SandboxError):
                    raise descriptor_error(error, f"sandbox {self._name!r} can't be started") from error
                raise
            if self._closed:  # by a signal's handler
                self.close()
                msg = f"sandbox {self._name!r} was closed"
                raise SandboxClosedError(msg)
            self._guest = AgentGuest(self._connections, self.config.file_limit, self.config.output_limit)

    def _chosen(self) -> Choice:
        if self._choice is None or self._selection is None:
            self._choice = Choice(self.config)
            self._selection = self._choice.next()
        return self._choice

    def probe(self) -> EngineInfo:
        """Choose the engine if that was not done, and return the facts about it; nothing is started.

        Raises:
            EngineUnavailableError: No engine is usable.
            UnsupportedError: The engine can't honour a setting.
        """
        with self._lock:
            self._chosen()
            return self._info()

    def _look_at_the_network(self, engine: Engine) -> None:
        """Note where other sandboxes can reach this one, which some engines find out by trying alone."""
        assert self._selection is not None  # noqa: S101 - the engine is chosen before
        unenforced = self._selection.unenforced
        if self.config.network is not True or Capability.NETWORK_APART in unenforced:
            return
        try:
            reason = engine.exposure(self._id)
        except SandboxError as error:
            reason = f"it could not be found out: {error}"
        if reason is not None:
            self._selection = dataclasses.replace(
                self._selection, unenforced={**unenforced, Capability.NETWORK_APART: reason}
            )

    def _belong_here(self) -> None:
        """Belong to the process that uses it first, which a fork may have made."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.RLock()
            self._choice = self._selection = None
            if self.config.name is None:
                self._name = _new_name()

    def _connected(self, choice: Choice) -> AgentConnections:
        """Make or attach to the sandbox; where the engine chosen refuses the config, on the next engine."""
        while True:
            engine = self._started()
            try:
                return self._named(engine) if self.config.name is not None else self._make(engine)
            except (UnsupportedError, IsolationError) as error:
                self._selection = None
                engine.close()
                self._selection = choice.next(error)
                info = self._selection.info
                self._progress(f"{error}; taking {info.name} ({info.isolation}) instead")
            except (EngineError, SandboxGoneError) as error:
                # Not the next wall: what an image can break would choose a weaker one.
                if self._selection is not None and self._selection.added:
                    how = f"{self._selection.added} was taken for isolation={str(self.config.isolation)!r}"
                    error.add_note(f"{how}; if it can't work here, name another tier, or what does work in options")
                raise

    def _named(self, engine: Engine) -> AgentConnections:
        """Attach to the sandbox of the config's name, or make it.

        Of two processes that do so at once, one process makes and starts the sandbox and the other attaches to it.
        """
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                status = engine.inspect(self._name)
            except SandboxNotFoundError:
                if self.attach_only:
                    words = "correct the name, or make the sandbox with Sandbox(name=...)"
                    msg = f"{engine.name} has no sandbox {self._name!r} to attach to; {words}"
                    raise SandboxNotFoundError(msg) from None
                try:
                    return self._make(engine)
                except SandboxExistsError:
                    time.sleep(_PAUSE)  # another process was faster, or the engine is still removing it
                    continue
            if (connections := self._found(engine, status)) is not None:
                return connections
        how = f"kept coming and going for {_PATIENCE:g} s; another process may be replacing it"
        msg = f"{engine.name}: the sandbox {self._name!r} {how}"
        raise SandboxExistsError(msg)

    def _found(self, engine: Engine, status: SandboxStatus) -> AgentConnections | None:
        """Attach to the sandbox that has the name; return None if the name has to be looked for anew."""
        if status.labels.get(MANAGED) != "1":
            what = f"something of the name {status.name!r} that samebox did not make"
            msg = f"{engine.name} has {what}; choose another name"
            raise SandboxExistsError(msg)
        if self.config.on_conflict == "error":
            msg = f"{engine.name} has a sandbox of the name {status.name!r} already; use another name or on_conflict"
            raise SandboxExistsError(msg)
        if self.config.on_conflict == "replace":
            self._progress(f"replacing {self._name}")
            engine.remove(status.id)
        elif status.state == "created":
            self._await_start(engine, status)
        else:
            try:
                return self._attach(engine, status)
            except SandboxExistsError:
                raise
            except (EngineError, SandboxGoneError, ConnectionLostError):
                if not _changes(engine, status, _SETTLING):
                    raise
        return None

    def _await_start(self, engine: Engine, status: SandboxStatus) -> None:
        """Wait until its maker starts a sandbox that was created; remove one that nobody is about to start.

        To start it here would come before its maker is done with it, or after its maker has begun to remove it.
        """
        owner = Owner.parse(status.labels.get(OWNER, ""))
        dead = owner is not None and owner.alive is False
        if dead or not _changes(engine, status, _CREATION):
            self._progress(f"making {self._name} anew, which was never started")
            engine.remove(status.id)

    def _attach(self, engine: Engine, status: SandboxStatus) -> AgentConnections:
        if different := differences(self.config, status.labels.get(CONFIG, "")):
            msg = (
                f"sandbox {status.name!r} on {engine.name} was made otherwise than it is asked for now: "
                f"{'; '.join(different)}. "
                "Ask for the same, for nothing, or use on_conflict='replace'"
            )
            raise SandboxExistsError(msg)
        check_tier(self.config, self._info(), status)
        if status.state != "running":
            self._progress(f"starting {self._name} again")
            engine.start(status.id)
        stages = Stages(self._name, engine.name)
        connections = AgentConnections(engine, status.id, self._name, self.config)
        connections.open(None)
        stages.over("attached")
        self._attached, self._id = True, status.id
        return connections

    def _make(self, engine: Engine) -> AgentConnections:
        """Make the image available and the sandbox from it; once more after the agent was healed or the image gone."""
        image = self._image(engine)
        for healed in (False, True):
            try:
                return self._made(engine, image)
            except ImageNotFoundError:
                if healed:
                    raise
                image = self._image(engine)  # somebody has removed it meanwhile
            except (EngineError, SandboxGoneError, ConnectionLostError):
                if healed or not engine.agent_delivered or not engine.heal_agent():
                    raise
                self._progress("the agent on the engine was not whole; delivered it anew")
        raise AssertionError

    def _image(self, engine: Engine) -> str:
        if self.config.build is not None:
            return engine.build_image(self.config, self._progress)
        return engine.ensure_image(self.config, self._progress)

    def _made(self, engine: Engine, image: str) -> AgentConnections:
        """Create and start the sandbox and reach its agent, or remove the sandbox again."""
        attempt = secrets.token_hex(8)
        labels = {
            **self.config.labels,
            ATTEMPT: attempt,
            MANAGED: "1",
            NAME: self._name,
            OWNER: str(Owner.current()),
            VERSION: __version__,
            CONFIG: record(self.config),
            ISOLATION: self._info().isolation.value,
        }
        if self.config.keep:
            labels[KEEP] = "1"
        sandbox_id = ""
        stages = Stages(self._name, engine.name)
        try:
            sandbox_id = engine.create(self.config, image=image, name=self._name, labels=labels)
            stages.over("created")
            engine.start(sandbox_id)
            stages.over("started")
            connections = AgentConnections(engine, sandbox_id, self._name, self.config)
            try:
                connections.open(None, prove=engine.agent_delivered)
            except ProtocolError:
                raise
            except ConnectionLostError as error:
                status = engine.inspect(sandbox_id)
                if status.state != "running":
                    end = describe_end(status, connections.memory_limit())
                    how = f"ended as soon as it had started: {end}; {error}"
                    msg = f"sandbox {self._name!r} on {engine.name} {how}"
                    raise SandboxGoneError(msg) from error
                raise
            stages.over("connected")
            if not self.config.keep:
                remove = functools.partial(_dispose, engine, sandbox_id, self.config)
                self._disposal = Disposal(self, remove, engine.close, self._name)
            self._id = sandbox_id
        except BaseException as error:
            if sandbox_id or not isinstance(
                error, ConfigError | UnsupportedError | IsolationError | SandboxExistsError
            ):
                self._undo(functools.partial(_undo, engine, sandbox_id, self._name, attempt), engine, error)
            raise
        return connections

    def _undo(self, undo: Callable[[], None], engine: Engine, error: BaseException) -> None:
        """Remove what a start that failed has made; later, where the engine can't now, as while its service starts."""
        try:
            undo()
        except (SandboxError, OSError) as second:
            error.add_note(f"and sandbox {self._name!r} could not be removed, which is tried again: {second}")
            Disposal(None, undo, engine.close, self._name).persist_soon()

    async def host_port(self, port: int | str) -> int:
        """Return the port of the host at which a published port of the sandbox can be reached.

        Args:
            port: The sandbox's port, as 8080 or "53/udp".

        Raises:
            EngineError: The port is not published.
            UnsupportedError: The engine publishes no ports; `forward` works without this.
        """
        await self.guest()
        engine = self._started()
        return (await self._asked(lambda: engine.host_port(self._id, container_port(port)))).port or 0

    async def snapshot(self, image: str) -> str:
        """Keep the state of the sandbox's files as an image.

        Args:
            image: The name that the image gets.

        Returns:
            The image's reference, for `Sandbox(image=...)`.

        Raises:
            ConfigError: The name is none; nothing has been started.
            UnsupportedError: The engine can't keep files as an image.
        """
        check_new_name(image)
        await self.guest()
        engine = self._started()
        if (reason := lacking(engine, self._info(), Capability.SNAPSHOT)) is not None:
            raise UnsupportedError(Capability.SNAPSHOT, engine.name, reason)
        return await self._asked(lambda: engine.commit(self._id, image))

    async def status(self) -> SandboxStatus:
        """Return the engine's facts about the sandbox, which is not started by this.

        Raises:
            SandboxNotFoundError: It was not started yet.
            SandboxClosedError: It was closed.
            SandboxGoneError: It was removed.
        """
        if self._closed:
            msg = f"sandbox {self._name!r} was closed"
            raise SandboxClosedError(msg)
        if not self._id:
            msg = f"sandbox {self._name!r} was not started yet; its first use starts it, or start()"
            raise SandboxNotFoundError(msg)
        engine = self._started()
        return await self._asked(lambda: engine.inspect(self._id))

    async def _asked(self, call: Callable[[], T]) -> T:
        """Make a call of the engine that needs the sandbox.

        Raises:
            SandboxGoneError: It fails, and the sandbox is gone.
        """
        try:
            return await Blocking(call)
        except (EngineError, OSError) as error:
            if self._connections is not None and (gone := await Blocking(self._connections.gone)) is not None:
                raise gone from error
            raise

    def _started(self) -> Engine:
        assert self._selection is not None  # noqa: S101 - the engine is chosen before
        return self._selection.engine

    def _info(self) -> EngineInfo:
        assert self._selection is not None  # noqa: S101 - guest() has chosen the engine
        return self._selection.info

    def close(self) -> None:
        """End the sandbox; remove it unless it was attached to or is to be kept. May be called again.

        Raises:
            SandboxError: The sandbox could not be removed; another call tries again.
        """
        if self._pid != os.getpid():
            return  # a forked child has no say over its parent's sandbox
        with self._lock:
            self._closed = True
            if self._connections is not None:
                self._connections.close()
            if self._disposal is not None:
                self._disposal.dispose()
            elif self.config.keep and self._id:
                self._progress(f"kept {self._name}; Sandbox.attach({self._name!r}) has it again")
            if self._selection is not None:
                self._selection.engine.close()

    def destroy(self) -> None:
        """Remove the sandbox, also one that was attached to or is to be kept, and close it. May be called again.

        Raises:
            SandboxNotFoundError: It has a name, was not started by this object, and is not there.
            SandboxError: The sandbox could not be removed; another call tries again.
        """
        with self._lock:
            if not self._destroyed and (self._id or self.config.name is not None):
                self._chosen()
                engine = self._started()
                sandbox_id = self._id or self._id_of_the_name(engine)
                if self._connections is not None:
                    self._connections.close()
                if self._disposal is None:
                    _dispose(engine, sandbox_id, self.config)
            self._destroyed = True
            self.close()

    def _id_of_the_name(self, engine: Engine) -> str:
        status = engine.inspect(self._name)
        if status.labels.get(MANAGED) != "1":
            msg = f"{engine.name} has something of the name {self._name!r} that samebox did not make"
            raise SandboxNotFoundError(msg)
        return status.id

    def abandon(self) -> None:
        """Close it from another thread, as soon as what is under way allows that."""
        hand_over(self.close)


def _changes(engine: Engine, status: SandboxStatus, within: float) -> bool:
    """Return whether a sandbox comes into another state, or is gone, within some seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if engine.inspect(status.id).state != status.state:
                return True
        except SandboxNotFoundError:
            return True
        time.sleep(_PAUSE)
    return False


def _undo(engine: Engine, sandbox_id: str, name: str, attempt: str) -> None:
    """Remove a sandbox that one attempt has made; by its name, where an engine that was interrupted told no id."""
    if not sandbox_id:
        try:
            status = engine.inspect(name)
        except SandboxNotFoundError:
            return
        if status.labels.get(ATTEMPT) != attempt:
            return
        sandbox_id = status.id
    engine.remove(sandbox_id)


def _dispose(engine: Engine, sandbox_id: str, config: SandboxConfig) -> None:
    """Remove a sandbox, and its volumes if the config says so."""
    stages = Stages(sandbox_id, engine.name)
    engine.remove(sandbox_id)
    stages.over("removed")
    if config.volumes_remove:
        for name in {mount.source for mount in config.mounts if mount.type == "volume"}:
            engine.remove_volume(name)
