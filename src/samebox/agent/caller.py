"""AgentCaller: makes operations on a sandbox's agent, and turns the agent's errors into samebox's."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Protocol

from samebox.agent.call import OperationFailedError
from samebox.agent.records import decode_path, encode_path
from samebox.errors import ConnectionLostError, PathEscapesError, SandboxError, os_error
from samebox.guest.operation import Blocking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from samebox.agent.call import Call
    from samebox.agent.client import Connection
    from samebox.agent.output import Sink
    from samebox.agent.records import Field, Record
    from samebox.guest.files import Path

ANSWER = 3.0
"""How long an agent that is asked whether it is there may take, once an answer is overdue, in seconds."""
_OPENING = 20.0
"""How long a new connection to a sandbox that runs may take, in seconds."""
_BACKSTOP = 30.0
"""How much later the host gives up on an agent that is there and does not end a command, in seconds."""


class Connections(Protocol):
    """Hands out connections to a sandbox's agents."""

    def current(self, user: str | None) -> Connection | None:
        """Return the user's open connection, or None."""

    def reopen(self, user: str | None, within: float) -> Connection:
        """Return the user's open connection, or open a new connection; may block for so many seconds."""

    def explain(self, error: ConnectionLostError, user: str | None) -> SandboxError:
        """Return the error that the end of a connection means: of the whole sandbox or only its agent; may block."""


class AgentCaller:
    """Makes operations on a sandbox's agent, and turns the agent's errors into samebox's.

    Args:
        connections: Hands out the connections to the agents.
        root: The directory that file operations are confined to, or None.
    """

    def __init__(self, connections: Connections, root: bytes | None = None) -> None:
        self._connections = connections
        self._root = root

    async def _begin(
        self,
        operation: int,
        fields: Sequence[Field],
        sinks: Mapping[int, Sink],
        user: str | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> Call:
        connection = self._connections.current(user)
        if connection is not None:
            try:
                return connection.call(operation, fields, sinks, **settings)
            except ConnectionLostError:
                pass  # the connection ended since its last use, so the agent was not asked yet
        within = _OPENING if timeout is None else min(_OPENING, timeout + ANSWER)
        connection = await Blocking(functools.partial(self._connections.reopen, user, within))
        return connection.call(operation, fields, sinks, **settings)

    async def _end(
        self, call: Call, path: Path | None, user: str | None = None, timeout: float | None = None
    ) -> Record:
        try:
            return await self._settled(call, call.finished, path, user, timeout)
        except BaseException:
            call.cancel()
            raise

    async def _settled(
        self,
        call: Call,
        future: Future[Record],
        path: Path | None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> Record:
        """Wait for an answer; raise the error that the agent's ERROR, or the end of the connection, means."""
        try:
            return await call.until(future, timeout)
        except OperationFailedError as error:
            raise self._failure(error.record, path) from None
        except ConnectionLostError as error:
            raise await Blocking(functools.partial(self._connections.explain, error, user)) from error

    async def _ended(
        self, call: Call, path: Path | None, user: str | None, deadline: float | None, timeout: float | None = None
    ) -> Record | None:
        """Wait for the end of a command that its agent ends at a deadline.

        Args:
            call: The command.
            path: For errors.
            user: Whose agent it is.
            deadline: When the agent has ended the command at the latest, in seconds from now; None: never.
            timeout: How long the caller waits, in seconds; None: for ever.

        Returns:
            The agent's last answer; None: the deadline is over, and the agent did not end the command.

        Raises:
            TimeoutError: The caller's time is over.
        """
        deadline = None if deadline is None else max(0.0, deadline)
        if deadline is None or (timeout is not None and timeout <= deadline + ANSWER):
            return await self._settled(call, call.outcome(), path, user, timeout)
        try:
            return await self._settled(call, call.outcome(), path, user, deadline)
        except TimeoutError as error:
            if isinstance(error, SandboxError):
                raise
        # The agent is on the hostile side: it may be stopped, or its link stalled.
        if not await call.answered(ANSWER):
            return None
        left = None if timeout is None else timeout - deadline
        try:
            return await self._settled(
                call, call.outcome(), path, user, _BACKSTOP if left is None else min(left, _BACKSTOP)
            )
        except TimeoutError as error:
            if isinstance(error, SandboxError) or (left is not None and left <= _BACKSTOP):
                raise
            return None

    def _failure(self, record: Record, path: Path | None) -> SandboxError:
        """Return the error that the record of the agent's ERROR means."""
        asked = decode_path(encode_path(os.fspath(path))) if path is not None else None
        kind, number = record.text("kind"), record.number("errno")
        if kind == "escape":
            return PathEscapesError(asked or "", decode_path(self._root or b""))
        size = record.number("size", -1)
        where = record.path("path") if record.get("path") else asked
        message = record.text("message")[:500] if kind in {"pattern", "spawn"} else ""
        known = number if 0 < number < 4096 else 5
        return os_error(known, where, kind=kind, message=message, size=size if size >= 0 else None)
