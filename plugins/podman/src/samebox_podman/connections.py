"""Connections: the named services of Podman's command line, in podman-connections.json and containers.conf."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SYSTEM_FILES = (Path("/etc/containers/containers.conf"), Path("/usr/share/containers/containers.conf"))


@dataclass(frozen=True, slots=True)
class Connection:
    """A named service."""

    name: str
    url: str
    identity: str | None
    file: Path
    """Where it is defined."""


def load_connections(environ: Mapping[str, str]) -> tuple[dict[str, Connection], list[str]]:
    """Read what Podman's command line knows, the first definition of a name first.

    podman-py's own reader knows the user's two files only, and fails where one has an `[engine]` table without
    connections. Podman's order is that of containers.conf(5): podman-connections.json (or PODMAN_CONNECTIONS_CONF),
    then CONTAINERS_CONF alone, or the user's and the system's containers.conf.

    Args:
        environ: The environment.

    Returns:
        The connections by name; and what was wrong with files that could not be read.
    """
    found: dict[str, Connection] = {}
    wrong: list[str] = []
    for file in _files(environ):
        try:
            text = file.read_text(encoding="utf-8")
            connections = list(_json(text, file) if file.suffix == ".json" else _toml(text, file))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, TypeError) as error:
            wrong.append(f"{file}: {error}")
            continue
        for connection in connections:
            found.setdefault(connection.name, connection)
    return found, wrong


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    config = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config")
    directory = config / "containers"
    yield Path(environ.get("PODMAN_CONNECTIONS_CONF") or directory / "podman-connections.json")
    if only := environ.get("CONTAINERS_CONF"):
        yield Path(only)
        return
    yield directory / "containers.conf"
    yield from SYSTEM_FILES


def _json(text: str, file: Path) -> Iterator[Connection]:
    connections: dict[str, Any] = ((json.loads(text) or {}).get("Connection") or {}).get("Connections") or {}
    for name, entry in connections.items():
        yield Connection(name, str(entry["URI"]), entry.get("Identity") or None, file)


def _toml(text: str, file: Path) -> Iterator[Connection]:
    connections: dict[str, Any] = tomllib.loads(text).get("engine", {}).get("service_destinations", {})
    for name, entry in connections.items():
        yield Connection(name, str(entry["uri"]), entry.get("identity") or None, file)
