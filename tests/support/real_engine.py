"""A real engine that tests run on: where it is, what it is asked for, and what is said where it is missing."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from samebox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox.engine import Engine

pytest.register_assert_rewrite("builds", "lifecycles", "made_images", "mounts", "pulls")


def not_here(reason: str) -> NoReturn:
    """Skip a test for what this host lacks; fail where every engine is demanded."""
    if os.environ.get("SAMEBOX_REQUIRE_ENGINES"):
        pytest.fail(f"{reason}; and SAMEBOX_REQUIRE_ENGINES demands every engine")
    pytest.skip(reason)


def address(variable: str, program: str) -> str:
    """Return an engine's address, which a variable of the environment has."""
    found = os.environ.get(variable, "")
    if not found:
        not_here(f"{variable} is not set: no {program} to test with (tools/engines.py starts one)")
    return found


def sandboxes(engine: str, url: str, image: str) -> Callable[..., Sandbox]:
    """Return what makes a Sandbox on an engine; the test enters it."""

    def make(**settings: Any) -> Sandbox:
        options = {"url": url, **settings.pop("options", {})}
        return Sandbox(**{"engine": engine, "image": image, "options": options, **settings})

    return make


@pytest.fixture(scope="session")
def busybox() -> str:
    """Return the name of the busybox image."""
    return os.environ.get("SAMEBOX_TEST_IMAGE_BUSYBOX", "localhost/samebox-busybox:latest")


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """Return a name for a sandbox, which is gone after the test whatever happens."""
    name = f"samebox-test-{secrets.token_hex(6)}"
    yield name
    engine.remove(name)
