"""Mutants that get names and attaching wrong, of an engine that keeps sandboxes by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mutants.mutant import KeptSubject, mutant
from samebox.errors import EngineError, SandboxExistsError
from samebox.guest import processes
from samebox.sandbox.lifecycle import Lifecycle

if TYPE_CHECKING:
    import pytest

    from samebox.config.model import SandboxConfig
    from samebox.engine.local import LocalEngine


@mutant(
    "reuse/name-attaches-to-what-runs",
    base=KeptSubject,
)
def removes_what_it_attached_to(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """What was attached to is removed at the end, as if it had been made."""
    attach = Lifecycle._attach

    def attach_as_owner(self: Lifecycle, *args: Any) -> Any:
        connections = attach(self, *args)
        self._attached = False
        return connections

    patch.setattr(Lifecycle, "_attach", attach_as_owner)


def _ask_for(patch: pytest.MonkeyPatch, **settings: Any) -> None:
    init = Lifecycle.__init__

    def init_otherwise(self: Lifecycle, config: SandboxConfig, *args: Any) -> None:
        init(self, config.replace(**settings), *args)

    patch.setattr(Lifecycle, "__init__", init_otherwise)


@mutant("reuse/keep-leaves-it-running", base=KeptSubject)
def ignores_keep(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`keep` is ignored."""
    _ask_for(patch, keep=False)


@mutant("reuse/conflict-can-be-an-error", base=KeptSubject)
def ignores_on_conflict(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`on_conflict` is ignored."""
    _ask_for(patch, on_conflict="attach")


@mutant("reuse/another-config-is-an-error", base=KeptSubject)
def attaches_to_another_config(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox that was made otherwise is attached to."""
    patch.setattr("samebox.sandbox.lifecycle.differences", lambda *_: [])


@mutant("reuse/stopped-sandbox-is-started", base=KeptSubject)
def replaces_what_has_stopped(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A stopped sandbox is made anew, without its files."""
    attach = Lifecycle._attach

    def attach_to_what_runs(self: Lifecycle, engine: Any, status: Any) -> Any:
        if status.state == "stopped":
            engine.remove(status.id)
            return self._make(engine)
        return attach(self, engine, status)

    patch.setattr(Lifecycle, "_attach", attach_to_what_runs)


@mutant("reuse/owner-removes-it", base=KeptSubject)
def leaves_it_to_others(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The owner leaves it when others have attached."""
    patch.setattr("samebox.sandbox.lifecycle._dispose", lambda *_: None)


@mutant("reuse/one-name-opened-at-once", base=KeptSubject)
def fails_where_another_was_faster(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A name that another took since the look is an error."""
    make = Lifecycle._make

    def make_or_fail(self: Lifecycle, *args: Any) -> Any:
        try:
            return make(self, *args)
        except SandboxExistsError as error:
            raise EngineError(str(error)) from error

    patch.setattr(Lifecycle, "_make", make_or_fail)


@mutant("reuse/one-name-opened-at-once", base=KeptSubject)
def starts_what_another_has_just_made(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox that its maker has not started yet is started by whoever finds it."""
    patch.setattr(Lifecycle, "_await_start", lambda _, engine, status: engine.start(status.id))


@mutant("reuse/name-that-is-closed-meanwhile", base=KeptSubject)
def fails_where_another_has_removed_it(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox that was removed since the look is an error."""
    patch.setattr("samebox.sandbox.lifecycle._changes", lambda *_: False)


@mutant("reuse/attach-makes-nothing", base=KeptSubject)
def attaches_to_a_new_one(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`attach` makes a sandbox where there is none."""
    patch.setattr(Lifecycle, "attach_only", property(lambda _: False, lambda *_: None), raising=False)


@mutant("reuse/destroy-removes-what-is-kept", base=KeptSubject)
def closes_for_destroy(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`destroy` is another word for `close`."""
    patch.setattr(Lifecycle, "destroy", Lifecycle.close)


@mutant("reuse/status-is-told")
def starts_for_its_status(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`status` starts a sandbox."""
    status = Lifecycle.status

    async def status_of_a_new_one(self: Lifecycle) -> Any:
        await self.guest()
        return await status(self)

    patch.setattr(Lifecycle, "status", status_of_a_new_one)


@mutant("reuse/engine-is-known-before-the-start")
def starts_for_its_engine(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`probe` starts the sandbox."""
    probe = Lifecycle.probe

    def probe_of_a_new_one(self: Lifecycle) -> Any:
        self.start()
        return probe(self)

    patch.setattr(Lifecycle, "probe", probe_of_a_new_one)


@mutant("reuse/processes-are-listed")
def splits_names(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A process's name is taken to have no spaces."""
    parsed = processes._parsed

    def parsed_by_spaces(pid: int, uid: int, stat: bytes, words: bytes) -> Any:
        _, name, rest = stat.split(b" ", 2)
        return parsed(pid, uid, name + b") " + rest, words)

    patch.setattr(processes, "_parsed", parsed_by_spaces)
