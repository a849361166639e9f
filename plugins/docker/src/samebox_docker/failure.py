"""The errors of a daemon that refuses a call, or can't be reached: what was tried, what was found, what to do."""

from __future__ import annotations

import grp
import os
import shutil
import ssl
from typing import TYPE_CHECKING

from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.unreachable import Remedies, causes, explain, out_of_files, user_name, words
from samebox.errors import EngineUnavailableError
from samebox_docker.address import DEFAULT_SOURCE

if TYPE_CHECKING:
    from samebox.errors import EngineError
    from samebox_docker.address import Address

_PLAIN_TO_TLS = "client sent an http request to an https server"


def refused(address: Address, status: int, said: str) -> EngineError:
    """Return the error for an answer of the daemon that is an error."""
    if _PLAIN_TO_TLS in said.lower():
        found = "what listens there wants TLS"
        return _unavailable(
            address, found, "Give tls_ca, tls_cert and tls_key, or set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH."
        )
    return RefusedError(f"Docker at {address.url} refused: {said} (HTTP status {status})", status, said)


def unreachable(address: Address, error: BaseException, said: str = "") -> EngineUnavailableError:
    """Return the error for a daemon that can't be reached.

    Args:
        address: What was tried.
        error: What the client library raised; the cause inside is looked for.
        said: What ssh wrote to stderr.
    """
    found = list(causes(error))
    if address.scheme == "ssh" and not out_of_files(found):
        return _unavailable(address, *_ssh(address, said or words(found)))
    for cause in found:
        if (explained := _tls(address, cause)) is not None:
            return _unavailable(address, *explained)
    socket_path = address.socket_path if address.scheme == "unix" else None
    return _unavailable(address, *explain(error, socket_path, _remedies(address)))


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


def _remedies(address: Address) -> Remedies:
    permission = ""
    if address.scheme == "unix":
        user, group = user_name(), _group(address.socket_path)
        permission = (
            f"Add the user to the group {group} (`sudo usermod -aG {group} {user}`, then log in anew; its members are "
            "as powerful as root), or run a rootless Docker: https://docs.docker.com/engine/security/rootless/"
        )
    return Remedies(_start(address), permission, f"Correct {address.named}.", service="daemon")


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


def _group(path: str) -> str:
    try:
        name = grp.getgrgid(os.stat(path).st_gid).gr_name  # noqa: PTH116 - may be unreadable: no Path needed for one call
    except (OSError, KeyError):
        return "docker"
    return "docker" if name == "root" else name
