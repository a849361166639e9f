"""Words for a service that can't be reached: what was found at its address, and what to do."""

from __future__ import annotations

import errno
import os
import pwd
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do about a service that can't be reached, in sentences of its engine."""

    start: str
    """Where nothing listens."""
    permission: str
    """Where this user may not open the socket."""
    correct: str
    """Where the address can't be right, with where it comes from."""
    service: str = "service"
    """What the engine calls that which listens."""


def explain(error: BaseException, socket_path: str | None, remedies: Remedies) -> tuple[str, str]:
    """Tell why a service can't be reached.

    Args:
        error: What a client library raised; the cause inside is looked for.
        socket_path: The Unix socket that was tried; None: it is reached in another way.
        remedies: What to do.

    Returns:
        What was found, and what to do.
    """
    found = list(causes(error))
    if out_of_files(found):
        remedy = "Raise its limit (`ulimit -n`), or close sandboxes and files that are not used any more."
        return "this process, or the whole system, may open no more files and sockets", remedy
    for cause in found:
        if socket_path is not None and isinstance(cause, OSError) and (known := _socket(socket_path, cause, remedies)):
            return known
        if isinstance(cause, socket.gaierror):
            return f"the host name is not known ({cause.strerror})", remedies.correct
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there (connection refused)", remedies.start
    if any(isinstance(cause, TimeoutError) or "timed out" in str(cause) for cause in found):
        what = f"See whether the {remedies.service} is overloaded or behind a firewall; options.timeout says how long"
        return "there was no answer in time", f"{what} to wait."
    broken = f"the connection broke: {words(found)}"
    return broken, f"See whether the {remedies.service} still runs, and read its log."


def out_of_files(found: Iterable[BaseException]) -> bool:
    """Return whether one of the causes is that there are too many open files."""
    return any(isinstance(cause, OSError) and cause.errno in {errno.EMFILE, errno.ENFILE} for cause in found)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Walk through what an error was made from, innermost first, the error itself last.

    requests, urllib3 and the client libraries wrap one another's: in the arguments, in `reason`, as cause or context.
    """
    yield from _causes(error, set())


def words(found: list[BaseException]) -> str:
    """Return the words of the innermost cause that has any."""
    return next((text for cause in found if (text := str(cause))), type(found[-1]).__name__)


def user_name() -> str:
    """Return this process's user, by number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _causes(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    seen.add(id(error))
    for value in (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__):
        if isinstance(value, BaseException) and id(value) not in seen:
            yield from _causes(value, seen)
    yield error


def _socket(path: str, cause: OSError, remedies: Remedies) -> tuple[str, str] | None:
    if isinstance(cause, FileNotFoundError):
        return f"there is no socket {path}", remedies.start
    if isinstance(cause, PermissionError):
        return f"the user {user_name()} (uid {os.geteuid()}) may not open {path}", remedies.permission
    if isinstance(cause, ConnectionRefusedError):
        return f"{path} is there, but nothing listens on it", remedies.start
    if cause.errno in {errno.ENOTSOCK, errno.ENOTDIR}:
        return f"{path} is no socket", remedies.correct
    return None
