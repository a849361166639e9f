"""ConfigRecord: what a sandbox was made with, as a label tells it, to compare with what is asked of it later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig

# env is not part of a sandbox: each connection hands it over anew, and its values belong in no metadata. The others
# decide
# how it is reached or used, not what it is.
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
    """Return the label's value."""
    return json.dumps(_settings(config), sort_keys=True)


def differences(config: SandboxConfig, label: str) -> list[str]:
    """Return in words what is asked for now and differs from what the sandbox was made with; [] if nothing does.

    A setting that is not asked for now is whatever the sandbox has.
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
    if every:
        config = config.model_construct(**{name: getattr(config, name) for name in type(config).model_fields})
    return {name: value for name, value in config.model_dump(mode="json").items() if name not in _NOT_PART}
