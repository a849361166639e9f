"""What mutants do to the guest's answers: wrappers of its operations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from samebox.agent.guest import AgentGuest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from samebox.guest.results import ExecResult

    Operation = Callable[..., Awaitable[Any]]


def wrap(patch: pytest.MonkeyPatch, owner: type, name: str, wrapper: Callable[..., Awaitable[Any]]) -> None:
    """Replace an operation by one that is called with the original before the original's own arguments."""
    original = getattr(owner, name)

    async def operation(self: Any, *args: Any, **settings: Any) -> Any:
        return await wrapper(original, self, *args, **settings)

    operation.__name__ = name
    patch.setattr(owner, name, operation)


def change_result(patch: pytest.MonkeyPatch, change: Callable[[ExecResult], dict[str, Any]]) -> None:
    """Change fields of what `exec` returns."""

    async def changed(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        result = await original(self, argv, **settings)
        return replace(result, **change(result))

    wrap(patch, AgentGuest, "exec", changed)


def change_output(patch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of what `exec` returns, of both streams."""
    change_result(patch, lambda result: {"stdout": change(result.stdout), "stderr": change(result.stderr)})


def change_call(patch: pytest.MonkeyPatch, name: str, **settings: Any) -> None:
    """Call an operation of the guest with some settings in the place of the caller's."""

    async def changed(original: Operation, self: Any, *args: Any, **given: Any) -> Any:
        return await original(self, *args, **given | settings)

    wrap(patch, AgentGuest, name, changed)
