"""DockerOptions: what a config's `options` may say to the Docker engine."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads annotations at run time
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, ValidationInfo, field_validator

from samebox.engine import EngineOptions
from samebox.engine.oci.options import ExistingFile  # noqa: TC001 - pydantic reads annotations at run time

SCHEMES = ("unix", "tcp", "http", "https", "ssh")


class DockerOptions(EngineOptions):
    """Which daemon to use, and how.

    Without `url` and `context` the daemon is found as Docker's own command line finds it; see
    `samebox_docker.address.find_address`.
    """

    url: str | None = None
    """The daemon's address: `unix:///path`, `tcp://host:port` or `ssh://user@host:port`."""
    context: str | None = None
    """The name of a context of Docker's command line (`docker context ls`)."""
    tls_ca: ExistingFile | None = None
    """Certificate of the authority that has signed the daemon's certificate, in PEM."""
    tls_cert: ExistingFile | None = None
    """This side's certificate, in PEM; together with `tls_key`."""
    tls_key: Annotated[ExistingFile | None, Field(validate_default=True)] = None
    """This side's private key, in PEM; together with `tls_cert`."""
    tls_verify: bool | None = None
    """Whether the daemon's certificate is checked; None: yes, where TLS is used."""
    runtime: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")] | None = None
    """The OCI runtime, one that the daemon has, as `runsc` (gVisor) or `kata`; None: the daemon's default."""
    timeout: PositiveFloat = 60.0
    """How long to wait for one answer of the daemon, in seconds."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value)
        return value

    @field_validator("context")
    @classmethod
    def _one_daemon(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("url") is not None:
            msg = "url says which daemon already; give one of them"
            raise ValueError(msg)
        return value

    @field_validator("tls_key")
    @classmethod
    def _pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert" in info.data and (info.data["tls_cert"] is None) != (value is None):
            msg = "tls_cert and tls_key belong together; give both"
            raise ValueError(msg)
        return value

    @property
    def tls(self) -> bool:
        """Whether an option asks for TLS."""
        return self.tls_verify is not None or any((self.tls_ca, self.tls_cert, self.tls_key))


def check_url(url: str) -> None:
    """Check that a daemon's address is one that can be tried.

    Raises:
        ValueError: Its scheme is unknown, or something is missing in it.
    """
    scheme, separator, rest = url.partition("://")
    accepted = "unix:///path, tcp://host:port or ssh://user@host:port"
    if scheme == "npipe":
        msg = f"npipe:// is a pipe of Windows, which samebox does not use; give {accepted}"
        raise ValueError(msg)
    if not separator or scheme not in SCHEMES or not rest:
        msg = f"a daemon's address is {accepted}"
        raise ValueError(msg)
    if scheme == "unix":
        return
    if "@" in rest and ":" in rest.rpartition("@")[0]:
        msg = "an address has no password in it; ssh uses keys, tcp uses tls_cert and tls_key"
        raise ValueError(msg)
    parts = urlsplit(url)
    if not parts.hostname or parts.path not in {"", "/"} or parts.query or (parts.port is None and scheme != "ssh"):
        msg = f"a daemon's address is {accepted}, with nothing after the port"
        raise ValueError(msg)
