"""AgentConnections: the open connections to one sandbox's agents, one connection for each user, opened on demand."""

from __future__ import annotations

import errno
import functools
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from samebox.agent.call import OperationFailedError
from samebox.agent.client import Connection
from samebox.agent.own_user import is_own_user
from samebox.agent.records import encode_path
from samebox.capabilities import Capability
from samebox.engine.ending import describe_end, maybe_memory
from samebox.engine.mistakes import mistake, no_workdir
from samebox.engine.program import agent_program
from samebox.engine.requirements import lacking
from samebox.errors import (
    ConnectionLostError,
    EngineError,
    EngineUnavailableError,
    ProtocolError,
    SandboxClosedError,
    SandboxError,
    SandboxGoneError,
    SandboxNotFoundError,
    UnsupportedError,
    descriptor_error,
    os_error,
)
from samebox.guest.operation import apart

if TYPE_CHECKING:
    from samebox.agent.records import Field
    from samebox.config.model import SandboxConfig
    from samebox.engine import ByteStream, Engine, SandboxStatus

_log = logging.getLogger("samebox.agent")
_SETTLE = 2.0
"""How long a sandbox that is ending may still look alive to its engine, in seconds."""
_EXPLANATION = 3.0
"""How long an engine may take to tell what became of a sandbox, in seconds; its caller's timeout may be over."""


class AgentConnections:
    """Opens, keeps and replaces the connections to one sandbox's agents.

    Args:
        engine: The sandbox's engine.
        sandbox_id: The sandbox.
        name: The sandbox's name, for messages.
        config: The config, for the workdir and the environment of commands.
    """

    def __init__(self, engine: Engine, sandbox_id: str, name: str, config: SandboxConfig) -> None:
        self._engine = engine
        self._id = sandbox_id
        self._where = f"sandbox {name!r} on {engine.name}"
        self._config = config
        self._lock = threading.RLock()  # a signal's handler that calls samebox may come while this thread has it
        self._pid = os.getpid()
        self._open: dict[str | None, Connection] = {}
        self._closed = False

    def current(self, user: str | None) -> Connection | None:
        """Return the user's open connection, or None."""
        connection = self._open.get(user)
        return connection if connection is not None and connection.usable else None

    def reopen(self, user: str | None, within: float) -> Connection:
        """As `open`, for at most so many seconds, however long the engine's own calls may take."""
        opening = apart(functools.partial(self.open, user, within=within))
        try:
            return opening.result(within)
        except TimeoutError as error:
            if isinstance(error, SandboxError):
                raise
            return self._unanswered(within)

    def _unanswered(self, seconds: float) -> NoReturn:
        raise EngineUnavailableError(
            f"{self._where} could not be reached for {seconds:g} s: its engine opened no connection to the sandbox; "
            "see whether the engine's service still answers, and make the call again"
        )

    def open(self, user: str | None, *, prove: bool = False, within: float = -1) -> Connection:
        """Return the user's open connection, or open a new connection; may block.

        Args:
            user: The user that commands run as; None: the sandbox's own user.
            prove: Whether the agent has to prove that it is the agent of this installation.
            within: How long to wait for another thread that opens one, in seconds; -1: as long as it takes.

        Raises:
            SandboxGoneError: The sandbox does not run any more.
            UnsupportedError: The engine can't run commands as another user.
            ConfigError: The image has no user of the name, or something that is no directory is at the workdir.
            ProtocolError: No agent answers, or an agent that is not of this installation.
            EngineError: The engine could not start an agent in the sandbox.
        """
        if self._pid != os.getpid():
            # A lock that another thread held at the fork would never be free in this process.
            self._lock, self._pid, self._open = threading.RLock(), os.getpid(), {}
        if not self._lock.acquire(timeout=within):
            self._unanswered(within)
        try:
            if self._closed:
                msg = f"{self._where} was closed"
                raise SandboxClosedError(msg)
            connection = self.current(user)
            if connection is None:
                connection = self._open[user] = self._connect(user, prove=prove)
            if self._closed:
                connection.close()
                msg = f"{self._where} was closed"
                raise SandboxClosedError(msg)
            return connection
        finally:
            self._lock.release()

    def _connect(self, user: str | None, *, prove: bool) -> Connection:
        if user is not None:
            reason = lacking(self._engine, self._engine.probe(), Capability.EXEC_USER)
            if reason is not None:
                own = self.open(None)
                if is_own_user(user, self._config.user, own.welcome, self):
                    return own
                raise UnsupportedError(
                    Capability.EXEC_USER, self._engine.name, f"{reason} (asked for by user={user!r})"
                )
        stream = self._stream(user)
        try:
            connection = Connection(stream, self._where)
        except BaseException:
            stream.close()
            raise
        workdir = self._engine.workdir(self._id, self._config)
        fields: list[Field] = [("workdir", encode_path(workdir)), ("want_digest", int(prove))]
        fields += [("env", encode_path(f"{name}={value}")) for name, value in self._config.env.items()]
        try:
            welcome = connection.hello(fields)
        except BaseException as error:
            connection.close()
            if (refusal := _refusal(error, user, workdir)) is not None:
                raise refusal from None
            raise
        if prove:
            digest = welcome.get("digest", b"").hex()
            # An agent that may not read its own program tells none: its engine has looked at it from outside.
            if digest and digest not in {agent_program(machine).digest for machine in _machines()}:
                connection.close()
                msg = f"the agent in {self._where} is not the one of this installation (its SHA-256 is {digest})"
                raise ProtocolError(msg)
        return connection

    def _stream(self, user: str | None) -> ByteStream:
        try:
            return self._engine.connect(self._id, user)
        except (SandboxNotFoundError, SandboxGoneError) as error:
            raise SandboxGoneError(f"{self._where} is gone: {self._end()}") from error
        except OSError as error:
            if isinstance(error, SandboxError):
                raise
            raise descriptor_error(error, f"no connection to the agent in {self._where} can be opened") from error

    def memory_limit(self) -> int | None:
        """Return the sandbox's limit in bytes; None where it has none, or its host can't keep it."""
        try:
            reason = lacking(self._engine, self._engine.probe(), Capability.MEMORY_LIMIT)
        except EngineError:
            return None
        return self._config.memory if reason is None else None

    def _end(self) -> str:
        """Return in words how the sandbox ended, as far as the engine knows; may block until the engine knows."""
        deadline = time.monotonic() + _SETTLE
        try:
            while (status := self._engine.inspect(self._id)).state == "running" and time.monotonic() < deadline:
                time.sleep(0.02)
            return describe_end(status, self.memory_limit())
        except SandboxNotFoundError:
            return "it was removed"
        except EngineError as error:
            return f"its engine does not answer any more: {error}"

    def _ended(self, status: SandboxStatus) -> SandboxGoneError:
        return SandboxGoneError(f"{self._where} is gone: {describe_end(status, self.memory_limit())}")

    def gone(self) -> SandboxGoneError | None:
        """Return the error that tells how the sandbox ended; None while it runs, or where its engine can't tell."""
        try:
            status = self._engine.inspect(self._id)
        except SandboxNotFoundError:
            return SandboxGoneError(f"{self._where} is gone: it was removed")
        except EngineError:
            return None
        return self._ended(status) if status.state != "running" else None

    def explain(self, error: ConnectionLostError, user: str | None) -> SandboxError:
        """Return the error that the end of a connection means; may block for 3 seconds, as a sandbox needs to end.

        Returns:
            `SandboxGoneError` if the sandbox is gone; the error itself if only the agent was ended, and the next call
            gets a new agent; another `ConnectionLostError` if the engine does not tell, as when the link to it is cut.
        """
        if self._closed:
            return SandboxClosedError(f"{self._where} was closed")
        _log.info("lost the agent: %s", error)
        explanation = apart(functools.partial(self._explained, error, user))
        try:
            return explanation.result(_EXPLANATION)
        except TimeoutError:
            return _unexplained(error, f"there was no answer for {_EXPLANATION:g} s")

    def _explained(self, error: ConnectionLostError, user: str | None) -> SandboxError:
        deadline = time.monotonic() + _SETTLE
        paused = False
        while True:
            try:
                status = self._engine.inspect(self._id)
                paused = status.paused
                if status.state != "running":
                    return self._ended(status)
                self.open(user, within=_EXPLANATION)
            except SandboxNotFoundError:
                return SandboxGoneError(f"{self._where} is gone: it was removed")
            except SandboxGoneError as gone:
                return gone
            except (EngineError, ConnectionLostError, OSError) as reason:
                if time.monotonic() > deadline:
                    return self._unreached(error, reason, paused=paused)
            else:
                return error
            time.sleep(0.05)

    def _unreached(self, error: ConnectionLostError, reason: Exception, *, paused: bool) -> SandboxError:
        """Return the error for a sandbox that runs, as far as its engine knows, and to which no connection is had."""
        if paused:
            return ConnectionLostError(f"{error}; the sandbox is paused: let it go on, and make the call again")
        if isinstance(reason, EngineUnavailableError):
            return _unexplained(error, str(reason))
        why = f"{reason}{maybe_memory(self.memory_limit())}"
        return SandboxGoneError(f"{self._where} cannot be reached any more: {why}")

    def close(self) -> None:
        """Close every connection, for good."""
        self._closed = True
        if self._pid == os.getpid():
            for connection in list(self._open.values()):
                connection.close()
            self._open.clear()


def _unexplained(error: ConnectionLostError, why: str) -> ConnectionLostError:
    return ConnectionLostError(f"{error}; what became of the sandbox is not known, as its engine can't be asked: {why}")


def _refusal(error: BaseException, user: str | None, workdir: str) -> Exception | None:
    """Return the error that a failed greeting means, if it means another one."""
    if isinstance(error, OperationFailedError):
        where = error.record.path("path") if error.record.get("path") else workdir
        number = error.record.number("errno", 5)
        return no_workdir(workdir) if number in {errno.ENOTDIR, errno.EEXIST} else os_error(number, where)
    # Docker tells after the connection stands that the image has no such user.
    return mistake(str(error)) if user is not None and isinstance(error, ConnectionLostError) else None


def _machines() -> list[str]:
    """Return the processor architectures for which this installation has an agent."""
    found = []
    for machine in ("x86_64", "aarch64"):
        try:
            agent_program(machine)
        except SandboxError:
            continue
        found.append(machine)
    return found
