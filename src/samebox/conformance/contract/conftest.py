"""The fixtures of the contract's tests, which are not in the plugin, so that no other run sees them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from samebox.conformance.contract.harness import DEADLINE, HARNESS, ORDINARY_USER, Harness
from samebox.engine.registry import make_engine
from samebox.errors import EngineError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox.sandbox.sandbox import AsyncSandbox, Sandbox


class NewBox(Protocol):
    """Makes a sandbox for one test alone, which is closed at the test's end."""

    def __call__(self, **settings: Any) -> Sandbox:
        """Return a started sandbox."""


class NewAsyncBox(Protocol):
    """Makes a sandbox for one test alone, which the test closes."""

    def __call__(self, **settings: Any) -> AsyncSandbox:
        """Return a sandbox that is not started yet."""


class _Shared:
    """A sandbox that is shared by tests that do it no harm, and replaced when a test has harmed it."""

    def __init__(self, make: Callable[[], Sandbox]) -> None:
        self._make = make
        self._box: Sandbox | None = None

    def get(self) -> Sandbox:
        if self._box is not None:
            try:
                self._box.exec(["true"], timeout=DEADLINE)
            except SandboxError:
                self.close()
        if self._box is None:
            self._box = self._make().start()
        return self._box

    def close(self) -> None:
        if self._box is not None:
            box, self._box = self._box, None
            with contextlib.suppress(SandboxError):
                box.close()


@pytest.fixture(scope="session")
def harness(pytestconfig: pytest.Config) -> Harness:
    """The harness, which makes sandboxes on the engine under test."""
    return pytestconfig.stash[HARNESS]


@pytest.fixture(scope="session")
def _shared_box(harness: Harness) -> Iterator[_Shared]:
    shared = _Shared(harness.sandbox)
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def _shared_user_box(harness: Harness) -> Iterator[_Shared]:
    shared = _Shared(lambda: harness.sandbox(user=ORDINARY_USER))
    yield shared
    shared.close()


@pytest.fixture
def box(_shared_box: _Shared, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox that tests share; a test that may harm a sandbox makes its own with `new_box`."""
    failed = request.session.testsfailed
    yield _shared_box.get()
    if request.session.testsfailed > failed:
        _shared_box.close()


@pytest.fixture
def user_box(_shared_user_box: _Shared, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A shared sandbox whose user is not root, for whom permissions mean something; needs `Capability.USER`."""
    failed = request.session.testsfailed
    yield _shared_user_box.get()
    if request.session.testsfailed > failed:
        _shared_user_box.close()


_numbers = itertools.count(1)


@pytest.fixture
def here(request: pytest.FixtureRequest) -> str:
    """The absolute path of a fresh directory in the test's shared sandbox."""
    name = "user_box" if "user_box" in request.fixturenames else "box"
    shared: Sandbox = request.getfixturevalue(name)
    path = f"{shared.realpath('.')}/t{next(_numbers)}"
    shared.make_dir(path, exist_ok=False)
    return path


@pytest.fixture(scope="session")
def _images_before(harness: Harness) -> frozenset[str]:
    """The images that are somebody's: they were there before the run."""
    with contextlib.closing(make_engine(harness.engine, harness.options)) as engine:
        return frozenset(image.id for image in engine.images())


@pytest.fixture
def new_box(harness: Harness, _images_before: frozenset[str]) -> Iterator[NewBox]:
    """Makes sandboxes for one test alone; the images that were made for them go with them."""
    images: set[str] = set()
    with contextlib.closing(make_engine(harness.engine, harness.options)) as engine:
        with contextlib.ExitStack() as stack:

            def make(**settings: Any) -> Sandbox:
                made = harness.sandbox(**settings)
                stack.callback(made.close)
                made.start()
                if settings.keys() & {"build", "image"}:
                    images.update(image.id for image in engine.images() if made.name in image.used_by)
                return made

            yield make
        for image in images - _images_before:
            with contextlib.suppress(EngineError):  # another run of the suite has it, or a snapshot has taken its name
                engine.remove_image(image)


@pytest.fixture(scope="session")
def _async_boxes(harness: Harness) -> Iterator[list[AsyncSandbox]]:
    boxes = [harness.async_sandbox()]
    yield boxes
    asyncio.run(boxes[0].close())


@pytest.fixture
def abox(harness: Harness, _async_boxes: list[AsyncSandbox], request: pytest.FixtureRequest) -> Iterator[AsyncSandbox]:
    """A shared sandbox for asyncio; each test has an event loop of its own."""
    failed = request.session.testsfailed
    yield _async_boxes[0]
    if request.session.testsfailed > failed:
        with contextlib.suppress(SandboxError):
            asyncio.run(_async_boxes[0].close())
        _async_boxes[0] = harness.async_sandbox()


@pytest.fixture
def new_abox(harness: Harness) -> NewAsyncBox:
    """Makes sandboxes for asyncio, for one test alone, that are not started yet."""
    return harness.async_sandbox
