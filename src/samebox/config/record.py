"""The record of a sandbox's config in a label, and its comparison with a config that is asked for later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from samebox.config.build import digest

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig

# Fields that are not part of the record. env is not part of a sandbox: each connection hands env over anew, and its
# values belong in no metadata (of the values of a build, digests do). The other fields decide how a sandbox is reached
# or used, not what the sandbox is.
_NOT_PART = frozenset(
    {
        "engine",
        "options",
        "env",
        "name",
        "on_conflict",
        "keep",
        "pull",
        "isolation",
        "output_limit",
        "file_limit",
        "volumes_remove",
    }
)


def record(config: SandboxConfig) -> str:
    """Return the value of the label that records a config."""
    return json.dumps(_settings(config), sort_keys=True)


def differences(config: SandboxConfig, label: str) -> list[str]:
    """Return in words each setting that is asked for now and differs from the record in a sandbox's label.

    A setting that is not asked for now does not differ, whatever the sandbox was made with.
    """
    try:
        made = json.loads(label)
    except ValueError:
        return []
    made = made if isinstance(made, dict) else {}
    defaults = _settings(type(config)(), every=True)
    found = []
    for name, wanted in _settings(config).items():
        existing = made.get(name, defaults.get(name))
        if existing != wanted:
            found.append(f"{name}: made with {existing!r}, asked for {wanted!r}")
    return found


def _settings(config: SandboxConfig, *, every: bool = False) -> dict[str, Any]:
    """Return the settings that belong in a record: those that were asked for, or every one."""
    if every:
        config = config.model_construct(**{name: getattr(config, name) for name in type(config).model_fields})
    found = {name: value for name, value in config.model_dump(mode="json").items() if name not in _NOT_PART}
    if build := found.get("build"):
        for holder in filter(None, (build.get("args"), (build.get("runtime") or {}).get("env"))):
            holder.update({name: _fingerprint(value) for name, value in holder.items()})
    return found


def _fingerprint(value: str) -> str:
    return f"sha256:{digest(value.encode('utf-8', 'surrogateescape'))[:16]}"
