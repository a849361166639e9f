"""Mutants that get the life of a sandbox wrong. What they leave is removed after the run."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from samebox.engine import local
from samebox.errors import SandboxNotFoundError
from samebox.sandbox.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from samebox.config.model import SandboxConfig
    from samebox.engine.local import LocalEngine


@mutant("lifecycle/close-removes")
def forgets_to_remove(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Closing stops a sandbox and does not remove it."""
    patch.setattr(engine, "remove", lambda self, sandbox_id: self.stop(sandbox_id))
    patch.setattr(engine, "close", lambda _self: None)


@mutant("lifecycle/close-removes", "async/closed-sandbox-says-so")
def raises_at_the_second_close(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Closing a second time raises."""
    close = Lifecycle.close

    def close_once(self: Lifecycle) -> None:
        if self._closed:
            raise SandboxNotFoundError(f"there is no sandbox {self.name!r}")
        close(self)

    patch.setattr(Lifecycle, "close", close_once)


@mutant("lifecycle/closed-sandbox-says-so")
def starts_again_after_close(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A closed sandbox starts anew, without its files."""
    start = Lifecycle.start

    def start_anew(self: Lifecycle) -> None:
        if self._closed:
            self._closed, self._guest, self._connections = False, None, None
        start(self)

    patch.setattr(Lifecycle, "start", start_anew)


@mutant("lifecycle/start-is-lazy")
def starts_at_once(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox is started as soon as it is made."""
    init = Lifecycle.__init__

    def init_and_start(self: Lifecycle, *args: Any) -> None:
        init(self, *args)
        self.start()

    patch.setattr(Lifecycle, "__init__", init_and_start)


@mutant("lifecycle/forgotten-sandbox-is-removed", patience=2)
def keeps_forgotten_sandboxes(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox that nobody closed stays."""
    patch.setattr("samebox.sandbox.disposal.hand_over", lambda *_: None)


@mutant("lifecycle/interrupt-of-the-process-group")
def shares_the_callers_session(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The sandbox's helper is in the caller's process group, whose signals end it, and it takes the sandbox along."""
    helper = ["sh", "-c", '"$@" & trap "kill -9 $!; exit 130" INT; wait $!', "sh"]

    def popen(argv: list[str], **settings: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*helper, *argv], **(settings | {"start_new_session": False}))

    patch.setattr(local, "subprocess", SimpleNamespace(**(vars(subprocess) | {"Popen": popen})))


@mutant("lifecycle/lifetime-ends-it", patience=2)
def ignores_the_lifetime(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`max_lifetime` is ignored."""
    create = engine.create

    def without_end(self: LocalEngine, config: SandboxConfig, **settings: Any) -> str:
        return create(self, config.replace(max_lifetime=None), **settings)

    patch.setattr(engine, "create", without_end)


@mutant("lifecycle/labels-name-the-owner")
def drops_labels(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Labels are dropped."""
    create = engine.create

    def without_labels(self: LocalEngine, config: SandboxConfig, labels: Mapping[str, str], **settings: Any) -> str:
        return create(self, config, labels={}, **settings)

    patch.setattr(engine, "create", without_labels)


@mutant("lifecycle/labels-name-the-owner")
def lists_nothing(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The listing lacks what runs."""
    patch.setattr(engine, "list", lambda _self: [])
