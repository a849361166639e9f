"""LoadedConfig: a config put together from files, the environment and flags, and where each value came from."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebox.config.model import SandboxConfig
from samebox.config.nearest import nearest
from samebox.config.trust import opens
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "SAMEBOX_"
_NO_SETTING = re.compile(PREFIX + "(DISABLED_ENGINES|REQUIRE_ENGINES|(CONFORMANCE|FAULTS|TEST|TESTBED)_.*)")
"""The variables of the registry of engines, of the suite and of samebox's own tests."""
_PLAIN_TEXT = frozenset(
    {"engine", "image", "pull", "platform", "name", "on_conflict", "workdir", "user", "hostname", "userns", "isolation"}
)
"""Fields whose value in the environment is the text itself; the value of other fields is JSON, where it reads as
JSON."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A config and the origin of each of its values."""

    config: SandboxConfig
    origins: Mapping[str, str]
    """The origin of each field's value: "default", "base", a file's path, an environment variable's name or "flags"."""
    left_out: Mapping[str, list[str]] = field(default_factory=dict)
    """The names of the settings that files have and that were not taken, by the file's path."""

    def from_files(self) -> dict[str, list[str]]:
        """Return the names of the settings that come from files, by the file's path."""
        found: dict[str, list[str]] = {}
        for name, origin in self.origins.items():
            if origin.startswith("/"):
                found.setdefault(origin, []).append(name)
        return found

    def openings(self) -> dict[str, list[str]]:
        """Return the settings from files by which a sandbox reaches more than by default, by the file's path.

        A project's files may be somebody else's, as is the code that is to be run in the sandbox: they may only narrow.
        """
        opening = {
            path: [name for name in names if opens(self.config, name)] for path, names in self.from_files().items()
        }
        return {path: names for path, names in opening.items() if names}


def load_config(
    directory: Path | str = ".",
    environment: Mapping[str, str] | None = None,
    *,
    base: Mapping[str, Any] | None = None,
    files: bool = True,
    **flags: Any,
) -> LoadedConfig:
    """Put a config together from defaults, pyproject.toml, samebox.toml, the environment and flags; later ones win.

    Args:
        directory: Where each file is looked for: in this directory, or in the nearest parent that has the file.
        environment: Variables such as SAMEBOX_MEMORY; lists and tables are in JSON. Default: the process's environment.
        base: Settings in place of the defaults.
        files: Whether settings are taken from files; False: they are named in `left_out`, and not even checked.
        flags: Settings that were given directly.

    Returns:
        The config and the origin of each value.

    Raises:
        ConfigError: A file can't be read, a value is wrong, or a variable that begins with SAMEBOX_ is no setting; the
            text names the value's origin.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(SandboxConfig.model_fields, "default")
    in_files = _files(Path(directory))
    variables = _environment(os.environ if environment is None else environment)
    for origin, found in (("base", dict(base or {})), *(in_files if files else ()), *variables, ("flags", flags)):
        _check(found, origin)
        values |= found
        origins |= dict.fromkeys(found, origin)
    left_out = {} if files else {path: list(found) for path, found in in_files}
    return LoadedConfig(SandboxConfig(**values), origins, left_out)


def _check(settings: dict[str, Any], origin: str) -> None:
    """Check one origin's settings by themselves, so that an error names the origin."""
    try:
        SandboxConfig(**settings)
    except ConfigError as error:
        msg = f"{origin}: {error}"
        raise ConfigError(msg) from None


def _files(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, table in (("pyproject.toml", ("tool", "samebox")), ("samebox.toml", ())):
        for parent in (directory.resolve(), *directory.resolve().parents):
            path = parent / name
            if path.is_file():
                content = _read(path)
                for key in table:
                    content = content.get(key, {}) if isinstance(content, dict) else {}
                if content:
                    found.append((str(path), content))
                break
    return found


def _read(path: Path) -> Any:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path} can't be read as TOML: {error}"
    raise ConfigError(msg)  # out here, as the error of a decoder has the whole text


def _environment(environment: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    known = {PREFIX + field.upper(): field for field in SandboxConfig.model_fields}
    for name in environment:
        if name.startswith(PREFIX) and name not in known and not _NO_SETTING.fullmatch(name):
            msg = f"{name}: there is no such setting{nearest(name, known, prefix=PREFIX)}"
            raise ConfigError(msg)
    return [(name, {known[name]: _value(known[name], environment[name])}) for name in known if name in environment]


def _value(setting: str, text: str) -> Any:
    if setting in _PLAIN_TEXT:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
