"""Address: where a Docker daemon is, who said so, and the TLS material to reach it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.config.environment import without_password
from samebox.errors import EngineUnavailableError
from samebox_docker import contexts
from samebox_docker.options import check_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samebox_docker.options import DockerOptions

DEFAULT_SOCKET = "/var/run/docker.sock"
DEFAULT_SOURCE = "the default socket"


@dataclass(frozen=True, slots=True)
class Tls:
    """The files for TLS, and whether the daemon's certificate is checked."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True

    @classmethod
    def from_directory(cls, directory: Path, *, verify: bool) -> Tls:
        """Take what is there of ca.pem, cert.pem and key.pem, as Docker's command line does."""
        ca, cert, key = (
            path if path.is_file() else None for path in map(directory.joinpath, ("ca.pem", "cert.pem", "key.pem"))
        )
        return cls(ca, cert if key else None, key if cert else None, verify)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon is."""

    url: str
    source: str
    """What said so, in words."""
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"{self.url} ({self.source})"

    @property
    def named(self) -> str:
        """What to correct when the address is wrong."""
        return "the address (options.url, DOCKER_HOST)" if self.source == DEFAULT_SOURCE else self.source

    @property
    def scheme(self) -> str:
        """unix, tcp or ssh."""
        scheme = self.url.partition("://")[0]
        return "tcp" if scheme in {"http", "https"} else scheme

    @property
    def socket_path(self) -> str:
        """The path of a unix socket."""
        return "/" + self.url.removeprefix("unix://").lstrip("/")


def find_address(options: DockerOptions, environ: Mapping[str, str]) -> Address:
    """Find the daemon as Docker's command line does.

    In this order: the options `url` and `context`; DOCKER_HOST (with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH); the
    current context, named by DOCKER_CONTEXT or by the command line's config.json; the default socket
    /var/run/docker.sock, or that of a rootless daemon, $XDG_RUNTIME_DIR/docker.sock, where the first may not be used.

    Args:
        options: The engine's options.
        environ: The environment.

    Raises:
        EngineUnavailableError: What names the daemon is wrong: an unknown context, an address that can't be one.
    """
    if options.url is not None:
        return Address(options.url, "options.url", _options_tls(options))
    if options.context is not None:
        return _context(options.context, "options.context", options, environ)
    if url := environ.get("DOCKER_HOST"):
        return Address(_checked(url, "DOCKER_HOST"), "DOCKER_HOST", _options_tls(options) or _environment_tls(environ))
    name, source = contexts.current_context(environ)
    return _context(name, source, options, environ)


def _context(name: str, source: str, options: DockerOptions, environ: Mapping[str, str]) -> Address:
    if name == contexts.DEFAULT:
        return _default(environ)
    context = contexts.load_context(name, source, environ)
    url = _checked(context.url, f"the Docker context {name!r}")
    tls = _options_tls(options)
    if tls is None and context.tls_directory.is_dir():
        tls = Tls.from_directory(context.tls_directory, verify=not context.skip_tls_verify)
    return Address(url, f"the Docker context {name!r}, named by {source}", tls)


def _default(environ: Mapping[str, str]) -> Address:
    runtime = environ.get("XDG_RUNTIME_DIR")
    rootless = f"{runtime.rstrip('/')}/docker.sock" if runtime else None
    if rootless and not os.access(DEFAULT_SOCKET, os.R_OK | os.W_OK) and os.access(rootless, os.R_OK | os.W_OK):
        return Address(f"unix://{rootless}", "the rootless daemon's socket")
    return Address(f"unix://{DEFAULT_SOCKET}", DEFAULT_SOURCE)


def _checked(url: str, source: str) -> str:
    url = url.strip()
    try:
        check_url(url)
    except ValueError as error:
        found = without_password(repr(url))
        msg = f"{source} is no address that the Docker engine can use ({found}): {error}. Correct or unset it."
        raise EngineUnavailableError(msg) from None
    return url


def _options_tls(options: DockerOptions) -> Tls | None:
    if not options.tls:
        return None
    return Tls(options.tls_ca, options.tls_cert, options.tls_key, options.tls_verify is not False)


def _environment_tls(environ: Mapping[str, str]) -> Tls | None:
    verify, directory = environ.get("DOCKER_TLS_VERIFY"), environ.get("DOCKER_CERT_PATH")
    if not verify and not directory:
        return None
    return Tls.from_directory(Path(directory) if directory else contexts.config_directory(environ), verify=bool(verify))
