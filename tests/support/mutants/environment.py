"""Mutants that give commands another environment, directory or user."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import change_call, wrap
from samebox.agent.guest import AgentGuest
from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.engine import local
from samebox.errors import EngineError, PathNotFoundError

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine


@mutant("environment/env-of-a-call")
def ignores_env(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A call's `env` is ignored."""
    change_call(patch, "exec", env=None)


@mutant("environment/env-of-a-call")
def remembers_env(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A call's `env` stays for the calls after it."""
    seen: dict[str, str] = {}

    async def exec_with_all(original: Operation, self: Any, argv: Any, *, env: Any = None, **settings: Any) -> Any:
        seen.update(env or {})
        return await original(self, argv, env=seen, **settings)

    wrap(patch, AgentGuest, "exec", exec_with_all)


@mutant("environment/env-of-the-config")
def ignores_the_configs_env(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The config's `env` is ignored."""
    patch.setattr("samebox.sandbox.lifecycle.AgentConnections", _without_env)


def _without_env(engine: Any, sandbox_id: str, name: str, config: SandboxConfig) -> Any:
    from samebox.agent.connections import AgentConnections  # noqa: PLC0415 - beside the one that takes its place

    return AgentConnections(engine, sandbox_id, name, config.replace(env={}))


@mutant("environment/host-environment-stays-out")
def passes_the_hosts_environment(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The host's variables are handed over."""
    original: Any = subprocess.Popen

    def popen(*args: Any, env: Any, **settings: Any) -> Any:
        return original(*args, env={**os.environ, **env}, **settings)

    fake = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
    patch.setattr(local, "subprocess", fake)


@mutant("environment/env-is-not-in-the-engine")
def shows_secrets_in_repr(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A config's repr has the values of its `env`."""

    def repr_args(self: SandboxConfig) -> Any:
        return [(name, getattr(self, name)) for name in self.model_fields_set]

    patch.setattr(SandboxConfig, "__repr_args__", repr_args)


@mutant(
    "environment/env-is-not-in-the-engine",
    "lifecycle/labels-name-the-owner",
)
def stores_env_in_labels(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The config's `env` is stored in the engine's metadata."""
    create = engine.create

    def with_env(self: LocalEngine, config: SandboxConfig, **settings: Any) -> str:
        labels = {**settings.pop("labels"), "env": str(config.env)}
        return create(self, config, labels=labels, **settings)

    patch.setattr(engine, "create", with_env)


@mutant("environment/cwd-of-a-call", "environment/missing-cwd-raises")
def ignores_cwd(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`cwd` is ignored."""
    change_call(patch, "exec", cwd=None)


@mutant("environment/missing-cwd-raises")
def runs_elsewhere_without_cwd(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """With a `cwd` that is not there, the command runs in the workdir."""

    async def exec_anyway(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        try:
            return await original(self, argv, **settings)
        except PathNotFoundError:
            return await original(self, ["true"])

    wrap(patch, AgentGuest, "exec", exec_anyway)


@mutant(
    "environment/user-of-the-config",
    "environment/user-of-a-call",
    "environment/unknown-user-is-an-error",
    "environment/unknown-user-of-a-call-is-an-error",
)
def ignores_the_user(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Users are claimed, and ignored: everything runs as whoever the engine is."""
    engine.capabilities |= {Capability.USER, Capability.EXEC_USER}


@mutant(
    "environment/home-of-an-unknown-user-is-writable",
    "environment/home-of-an-unknown-user-of-a-call-is-writable",
)
def has_no_home(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Users are claimed, and their home is not there."""
    engine.capabilities |= {Capability.USER, Capability.EXEC_USER}
    change_call(patch, "exec", env={"HOME": "/nonexistent"}, user=None)


@mutant("environment/terminal-and-container-are-not-told")
def tells_what_it_is(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`container` and TERM are set for every command."""
    change_call(patch, "exec", env={"container": "subject", "TERM": "xterm"})


@mutant("tty/terminal-has-a-name")
def names_no_terminal(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A terminal has an empty name."""
    change_call(patch, "spawn", env={"TERM": ""})


@mutant("environment/file-at-the-workdir-is-an-error")
def has_another_error_for_the_workdir(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A file at the workdir is an error of the engine's."""
    patch.setattr("samebox.agent.connections.no_workdir", lambda path: EngineError(f"{path}: not a directory"))
