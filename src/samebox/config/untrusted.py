"""UNTRUSTED: the settings for code that is taken to be hostile, each of which holds on every engine that isolates."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

UNTRUSTED: Mapping[str, Any] = MappingProxyType(
    {
        "isolation": "strongest",
        "read_only": True,
        "tmpfs": {"/tmp": "mode=1777"},  # noqa: S108 - the sandbox's
        "network": False,
        "disk": "1g",
        "max_lifetime": 3600.0,
    }
)
"""Settings by field. `memory` and `pids_limit` stay at their defaults: these are limits too, and are listed as not
enforced, rather than refused, on a host that can't keep them."""
