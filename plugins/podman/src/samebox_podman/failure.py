"""The errors of a service that refuses a call, or can't be reached: what was tried, what was found, what to do."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.unreachable import Remedies, explain
from samebox.errors import EngineUnavailableError

if TYPE_CHECKING:
    from samebox_podman.address import Address

INSTALL = "Install Podman (`apt install podman`, `dnf install podman`, or https://podman.io/docs/installation)"


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
    permission = (
        "Run as the user that it belongs to, or use a rootless Podman of your own: "
        "`systemctl --user enable --now podman.socket`, without options.url and CONTAINER_HOST."
    )
    remedies = Remedies(_start(address), permission, f"Correct {address.source}.")
    return explain(error, address.socket_path if address.scheme == "unix" else None, remedies)


def _start(address: Address) -> str:
    if address.scheme != "unix":
        return f"Start the service there (`podman system service`), or correct {address.source}."
    return f"{start_socket()}, or correct {address.source}."


def start_socket() -> str:
    """Return how a user gets a service with a socket on this host, without the final stop."""
    systemctl = "systemctl enable --now" if os.geteuid() == 0 else "systemctl --user enable --now"
    return f"{'Start it' if shutil.which('podman') else INSTALL + ', then start it'}: `{systemctl} podman.socket`"
