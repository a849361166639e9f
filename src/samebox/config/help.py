"""What `help` and editors show of a config's settings: a signature that reads, and each setting's text."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, ForwardRef

from samebox.config.settings import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

__all__ = ["settings_text", "signature"]


class _Written:
    """An annotation that is shown as it is written."""

    def __init__(self, annotation: ForwardRef | type) -> None:
        self._text = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation.__name__

    def __repr__(self) -> str:
        return self._text


def signature(fields: Mapping[str, FieldInfo]) -> inspect.Signature:
    """Return the signature of `SandboxConfig`: each setting with what it may be given as, and its default.

    Args:
        fields: Those of `SandboxConfig`.
    """
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    return inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=_Written(kind))
            for name, kind in SandboxSettings.__annotations__.items()
        ]
    )


def settings_text(fields: Mapping[str, FieldInfo]) -> str:
    """Return a line for each setting: its name, what it may be given as, and what it means.

    Args:
        fields: Those of `SandboxConfig`.
    """
    return "\n".join(
        f"    {name} ({_Written(kind)!r}): {' '.join((fields[name].description or '').split())}"
        for name, kind in SandboxSettings.__annotations__.items()
    )
