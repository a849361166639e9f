"""PodmanOptions: what a config's `options` may say to the Podman engine."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, field_validator, model_validator

from samebox.engine import EngineOptions
from samebox.engine.oci.options import ExistingFile  # noqa: TC001 - pydantic reads annotations at run time

ACCEPTED = "unix:///path, tcp://host:port or ssh://user@host:port/path/of/podman.sock"


class PodmanOptions(EngineOptions):
    """Which Podman service to use, and how.

    Without `url` and `connection` the service is found in a fixed order; see `samebox_podman.discovery.find_service`.
    """

    url: str | None = None
    """The service's address: `unix:///path`, `tcp://host:port` or `ssh://user@host:port/path/of/podman.sock`."""
    connection: str | None = None
    """The name of a connection of Podman's command line (`podman system connection list`)."""
    identity: ExistingFile | None = None
    """The private key for ssh; None: what ssh itself uses."""
    rootless: bool | None = None
    """True: only a rootless service, False: only a rootful one; None: what this user has."""
    runtime: Annotated[str, Field(pattern=r"^[a-zA-Z0-9/][a-zA-Z0-9/_.-]*$")] | None = None
    """The OCI runtime, one that the service has, as `crun`, `runc`, `runsc` (gVisor) or `kata`, or its path there;
    None: the service's default."""
    service: bool = True
    """Whether a private `podman system service` may be started where there is a podman program and no socket."""
    timeout: PositiveFloat = 120.0
    """How long to wait for one answer of the service, in seconds."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value)
        return value

    @model_validator(mode="after")
    def _one_of_them(self) -> PodmanOptions:
        if self.url is not None and self.connection is not None:
            msg = "url and connection both say which service; give one of them"
            raise ValueError(msg)
        return self


def check_url(url: str) -> None:
    """Check that a service's address is one that can be tried.

    Args:
        url: The address.

    Raises:
        ValueError: Its scheme is unknown, or something is missing in it; the text says what is accepted.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        msg = f"{error}; a service's address is {ACCEPTED}"
        raise ValueError(msg) from None
    if parts.password is not None:
        msg = "an address has no password in it; ssh uses keys"
        raise ValueError(msg)
    right = {
        "unix": not parts.netloc and parts.path.startswith("/") and parts.path != "/",
        "tcp": bool(host and port),
        "ssh": bool(host and parts.path not in {"", "/"}),
    }
    if not right.get(parts.scheme, False) or "\0" in url or any(map(str.isspace, url)):
        msg = f"a service's address is {ACCEPTED}"
        raise ValueError(msg)
    # ssh would take such a name for an option.
    if (host or "").startswith("-") or (parts.username or "").startswith("-"):
        msg = "neither user nor host begins with '-'"
        raise ValueError(msg)
