"""DockerContext: a context of Docker's command line, read from its files.

docker-py reads contexts too, but takes an unknown name for the default one without a word, and without a config.json it
looks for them below the current directory; a sandbox's daemon must never depend on where a program was started.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebox.errors import EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class DockerContext:
    """What a context says about its daemon."""

    name: str
    url: str
    skip_tls_verify: bool
    tls_directory: Path
    """Where ca.pem, cert.pem and key.pem are, if there are any."""


def config_directory(environ: Mapping[str, str]) -> Path:
    """Return the directory of Docker's command line: DOCKER_CONFIG, else ~/.docker."""
    given = environ.get("DOCKER_CONFIG")
    return Path(given) if given else Path(os.path.expanduser("~")) / ".docker"  # noqa: PTH111 - Path.home() raises where there is none


def current_context(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of the command line's current context, and what says so."""
    if name := environ.get("DOCKER_CONTEXT"):
        return name, "DOCKER_CONTEXT"
    path = config_directory(environ) / "config.json"
    name = _json(path).get("currentContext")
    return (name, f"currentContext in {path}") if isinstance(name, str) and name else (DEFAULT, "")


def load_context(name: str, source: str, environ: Mapping[str, str]) -> DockerContext:
    """Read a context.

    Args:
        name: Its name, other than "default".
        source: What named it, for the message.
        environ: The environment.

    Raises:
        EngineUnavailableError: There is none of that name, or it has no address of a Docker daemon.
    """
    directory = config_directory(environ) / "contexts"
    identity = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    meta = directory / "meta" / identity / "meta.json"
    if not meta.is_file():
        have = ", ".join([DEFAULT, *_names(directory)])
        msg = (
            f"there is no Docker context {name!r} (named by {source}) in {directory}; there are: {have}. "
            "Name one of them, or make it with `docker context create`."
        )
        raise EngineUnavailableError(msg)
    endpoint = _mapping(_mapping(_json(meta).get("Endpoints")).get("docker"))
    url = endpoint.get("Host")
    if not isinstance(url, str) or not url:
        msg = (
            f"the Docker context {name!r} (named by {source}) has no daemon's address in {meta}. "
            "Look at it with `docker context inspect`, or choose another one."
        )
        raise EngineUnavailableError(msg)
    return DockerContext(name, url, bool(endpoint.get("SkipTLSVerify")), directory / "tls" / identity / "docker")


def _names(directory: Path) -> list[str]:
    names = (_json(path).get("Name") for path in sorted(directory.glob("meta/*/meta.json")))
    return sorted(name for name in names if isinstance(name, str))


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
