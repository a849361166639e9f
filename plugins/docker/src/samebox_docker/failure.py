"""RefusedError, and the words for a daemon that can't be reached: what was tried, what was found, what to do."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shutil
import socket
import ssl
from typing import TYPE_CHECKING

from samebox.errors import EngineError, EngineUnavailableError
from samebox_docker.address import DEFAULT_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox_docker.address import Address

_PLAIN_TO_TLS = "client sent an http request to an https server"


class RefusedError(EngineError):
    """The daemon answered a call with an error.

    Args:
        message: The text for the user.
        status: The HTTP status.
        words: The daemon's own words.
    """

    def __init__(self, message: str, status: int = 0, words: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.words = words

    @property
    def no_container(self) -> bool:
        """Whether the daemon does not know the container."""
        return self.status == 404 and "no such container" in self.words.lower()


def refused(address: Address, status: int, words: str) -> EngineError:
    """Return the error for an answer of the daemon that is an error."""
    if _PLAIN_TO_TLS in words.lower():
        found = "what listens there wants TLS"
        return _unavailable(
            address, found, "Give tls_ca, tls_cert and tls_key, or set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH."
        )
    return RefusedError(f"Docker at {address.url} refused: {words} (HTTP status {status})", status, words)


def unreachable(address: Address, error: BaseException, said: str = "") -> EngineUnavailableError:
    """Return the error for a daemon that can't be reached.

    Args:
        address: What was tried.
        error: What the client library raised; the cause inside is looked for.
        said: What ssh wrote to stderr.
    """
    causes = list(_causes(error))
    if address.scheme == "ssh":
        return _unavailable(address, *_ssh(address, said or _words(causes)))
    for known in (_tls, _unix, _tcp):
        for cause in causes:
            if (explained := known(address, cause)) is not None:
                return _unavailable(address, *explained)
    if any(isinstance(cause, TimeoutError) or "timed out" in str(cause) for cause in causes):
        remedy = "See whether the daemon is overloaded or behind a firewall; options.timeout says how long to wait."
        return _unavailable(address, "there was no answer in time", remedy)
    found, remedy = f"the connection broke: {_words(causes)}", "See whether the daemon still runs, and read its log."
    return _unavailable(address, found, remedy)


def no_docker(address: Address, what: str, remedy: str) -> EngineUnavailableError:
    """Return the error for an answer that is not that of a Docker daemon with Linux containers."""
    return _unavailable(address, what, remedy)


def _unavailable(address: Address, found: str, remedy: str) -> EngineUnavailableError:
    return EngineUnavailableError(f"no Docker daemon can be used at {address}: {found}. {remedy}")


def _ssh(address: Address, said: str) -> tuple[str, str]:
    remedy = (
        f"See that `ssh -o BatchMode=yes {address.url} docker version` works: the host's key known, a key of yours "
        "accepted, docker installed there and permitted to you."
    )
    return f"ssh said: {' '.join(said.split()).rstrip('.')}", remedy


def _unix(address: Address, cause: BaseException) -> tuple[str, str] | None:
    if address.scheme != "unix" or not isinstance(cause, OSError):
        return None
    path = address.socket_path
    if isinstance(cause, FileNotFoundError):
        return f"there is no socket {path}", _start(address)
    if isinstance(cause, PermissionError):
        user, group = _user(), _group(path)
        remedy = (
            f"Add the user to the group {group} (`sudo usermod -aG {group} {user}`, then log in anew; its members are "
            "as powerful as root), or run a rootless Docker: https://docs.docker.com/engine/security/rootless/"
        )
        return f"the user {user} (uid {os.geteuid()}) may not open {path}", remedy
    if isinstance(cause, ConnectionRefusedError):
        return f"{path} is there, but nothing listens on it", _start(address)
    if cause.errno in {errno.ENOTSOCK, errno.ENOTDIR}:
        return f"{path} is no socket", f"Correct {address.named}."
    return None


def _tcp(address: Address, cause: BaseException) -> tuple[str, str] | None:
    if isinstance(cause, socket.gaierror):
        return f"the host name is not known ({cause.strerror})", f"Correct {address.named}."
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there (connection refused)", _start(address)
    return None


def _tls(address: Address, cause: BaseException) -> tuple[str, str] | None:
    if not isinstance(cause, ssl.SSLError):
        return None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted ({cause.verify_message})",
            "Give the certificate of the authority that signed it as options.tls_ca, or as ca.pem in DOCKER_CERT_PATH.",
        )
    reason = str(cause.reason or cause)
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return "it does not speak TLS", "Leave out the options tls_*, or DOCKER_TLS_VERIFY and DOCKER_CERT_PATH."
    if address.tls is None or address.tls.cert is None:
        return (
            f"TLS failed ({reason}), and no certificate of this side was given",
            "Give options.tls_cert and options.tls_key, or cert.pem and key.pem in DOCKER_CERT_PATH.",
        )
    return (
        f"TLS failed ({reason}) with the certificate {address.tls.cert}",
        "See that it and its key belong together, and that the daemon's authority (`--tlscacert`) has signed it.",
    )


def _start(address: Address) -> str:
    if address.source != DEFAULT_SOURCE:
        return f"Start the daemon that should listen there, or correct {address.named}."
    if shutil.which("dockerd") or shutil.which("docker"):
        return "Docker is installed here: start it with `sudo systemctl start docker` (Docker Desktop: open it)."
    return (
        "Docker is not installed here: see https://docs.docker.com/engine/install/, or take another engine "
        "(`samebox engines` lists them)."
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _group(path: str) -> str:
    try:
        name = grp.getgrgid(os.stat(path).st_gid).gr_name  # noqa: PTH116 - may be unreadable: no Path needed for one call
    except (OSError, KeyError):
        return "docker"
    return "docker" if name == "root" else name


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk through what an error was made from, the error itself last: requests and urllib3 wrap one another's."""
    inner = [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
    seen: set[int] = set()
    for value in inner:
        if isinstance(value, BaseException) and id(value) not in seen and value is not error:
            seen.add(id(value))
            yield from _causes(value)
    yield error


def _words(causes: list[BaseException]) -> str:
    return next((text for cause in causes if (text := str(cause))), type(causes[0]).__name__)
