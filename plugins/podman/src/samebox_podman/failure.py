"""RefusedError, and the words for a service that can't be reached: what was tried, what was found, what to do."""

from __future__ import annotations

import errno
import getpass
import os
import shutil
import socket
from typing import TYPE_CHECKING

from samebox.errors import EngineError, EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox_podman.address import Address

INSTALL = "Install Podman (`apt install podman`, `dnf install podman`, or https://podman.io/docs/installation)"


class RefusedError(EngineError):
    """The service answered a call with an error.

    Args:
        message: The text for the user.
        status: The HTTP status.
        words: The service's own words.
    """

    def __init__(self, message: str, status: int = 0, words: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.words = words

    @property
    def no_container(self) -> bool:
        """Whether the service does not know the container."""
        return self.status == 404 and "no such container" in self.words.lower()

    @property
    def not_running(self) -> bool:
        """Whether the container does not run, which Podman tells with several statuses."""
        words = self.words.lower()
        return any(part in words for part in ("state improper", "not running", "no such exec session"))

    @property
    def name_taken(self) -> bool:
        """Whether a container of that name exists, as Podman tells by an internal error, in words of each version."""
        words = self.words.lower()
        return "already in use" in words or "container already exists" in words


def refused(address: Address, status: int, words: str) -> RefusedError:
    """Return the error for an answer of the service that is an error."""
    return RefusedError(f"Podman at {address.url} refused: {words} (HTTP status {status})", status, words)


def unreachable(address: Address, error: BaseException, said: str = "") -> EngineUnavailableError:
    """Return the error for a service that can't be reached.

    Args:
        address: What was tried.
        error: What was raised; the cause inside is looked for.
        said: What ssh wrote.
    """
    found, remedy = why(address, error)
    if address.scheme == "ssh":
        words = f"; ssh said: {said.splitlines()[-1]}" if said else ""
        return unavailable(
            address,
            f"{found}, through ssh{words}",
            f"Check that a Podman service listens at {address.socket_path} there: `systemctl --user enable --now "
            "podman.socket` for that user, without --user for root",
        )
    return unavailable(address, found, remedy)


def unavailable(address: Address, found: str, remedy: str) -> EngineUnavailableError:
    """Return the error for a service that can't be used."""
    what, todo = found.rstrip("."), remedy.rstrip(".")
    return EngineUnavailableError(f"no Podman service can be used at {address}: {what}. {todo}.")


def nothing_found(tried: list[str], remedy: str) -> EngineUnavailableError:
    """Return the error where nobody named a service and no usual place has one."""
    lines = "\n".join(f"  - {line}" for line in tried)
    return EngineUnavailableError(f"no Podman service can be used. Tried:\n{lines}\n{remedy}")


def why(address: Address, error: BaseException) -> tuple[str, str]:
    """Tell what is wrong with a service that can't be reached.

    Args:
        address: What was tried.
        error: What was raised.

    Returns:
        What was found, and what to do.
    """
    found = list(causes(error))
    for cause in found:
        if isinstance(cause, OSError) and address.scheme == "unix" and (known := _unix(address, cause)):
            return known
        if isinstance(cause, socket.gaierror):
            return f"the host name is not known ({cause.strerror})", f"Correct {address.source}."
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there (connection refused)", _start(address)
    if any(isinstance(cause, TimeoutError) or "timed out" in str(cause) for cause in found):
        remedy = "See whether the service is overloaded or stuck; options.timeout says how long to wait."
        return "there was no answer in time", remedy
    words = next((text for cause in found if (text := str(cause))), type(error).__name__)
    return f"the connection broke: {words}", "See whether the service still runs, and read its log."


def causes(error: BaseException) -> Iterator[BaseException]:
    """Walk through what an error was made from, innermost first, the error itself last.

    requests, urllib3 and podman-py wrap one another's: in the arguments, in `reason`, as cause or context.
    """
    yield from _causes(error, set())


def _causes(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    seen.add(id(error))
    for value in (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__):
        if isinstance(value, BaseException) and id(value) not in seen:
            yield from _causes(value, seen)
    yield error


def _unix(address: Address, cause: OSError) -> tuple[str, str] | None:
    path = address.socket_path
    if isinstance(cause, FileNotFoundError):
        return f"there is no socket {path}", _start(address)
    if isinstance(cause, PermissionError):
        return (
            f"the user {getpass.getuser()} (uid {os.geteuid()}) may not open {path}",
            (
                "Run as the user that it belongs to, or use a rootless Podman of your own: "
                "`systemctl --user enable --now podman.socket`, without options.url and CONTAINER_HOST."
            ),
        )
    if isinstance(cause, ConnectionRefusedError):
        return f"{path} is there, but nothing listens on it", _start(address)
    if cause.errno in {errno.ENOTSOCK, errno.ENOTDIR}:
        return f"{path} is no socket", f"Correct {address.source}."
    return None


def _start(address: Address) -> str:
    if address.scheme != "unix":
        return f"Start the service there (`podman system service`), or correct {address.source}."
    return f"{start_socket()}, or correct {address.source}."


def start_socket() -> str:
    """Return how a user gets a service with a socket on this host, without the final stop."""
    systemctl = "systemctl enable --now" if os.geteuid() == 0 else "systemctl --user enable --now"
    return f"{'Start it' if shutil.which('podman') else INSTALL + ', then start it'}: `{systemctl} podman.socket`"
