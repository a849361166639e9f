"""Harness: makes sandboxes on the engine under test, and what tests need beside them."""

from __future__ import annotations

import contextlib
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.config.reference import image_capability
from samebox.engine.registry import make_engine, registry
from samebox.errors import SandboxError, UnsupportedError
from samebox.sandbox.sandbox import AsyncSandbox, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.engine import EngineInfo

FALLBACK_IMAGE = "busybox"
"""What sandboxes run where neither the engine nor the command line says."""
ORDINARY_USER = "65534:65534"
"""A user without rights; a number, as no image has to know its name."""
DEADLINE = 20.0
"""What takes longer hangs, in seconds; nothing here is expected to take a tenth of it."""

HARNESS = pytest.StashKey["Harness"]()
"""Where the fixtures find what makes sandboxes."""

requires = pytest.mark.samebox_requires
verifies = pytest.mark.samebox_verifies


class Harness:
    """Makes sandboxes on the engine under test.

    Args:
        engine: Its name.
        options: Its own options.
        image: The image of the sandboxes; None: the engine's default, or `FALLBACK_IMAGE`.

    Raises:
        ConfigError: There is no such engine.
    """

    def __init__(self, engine: str, options: dict[str, Any], image: str | None = None) -> None:
        self.engine = engine
        self.options = options
        engine_class = registry().get(engine)
        self.claimed = frozenset(engine_class.capabilities)
        self.image = image or (FALLBACK_IMAGE if engine_class.default_image is None else None)

    @cached_property
    def info(self) -> EngineInfo:
        """What the engine is on this host.

        Raises:
            SandboxError: It can't be reached.
        """
        engine = make_engine(self.engine, self.options)
        try:
            return engine.probe()
        finally:
            engine.close()

    @property
    def container_image(self) -> str:
        """The name of a container image: the one of the run, if it is one."""
        if self.image and image_capability(self.image) is Capability.CONTAINER_IMAGE:
            return self.image
        return FALLBACK_IMAGE

    @property
    def build_base(self) -> str:
        """The image that builds begin with: a container image, or on an engine without those the one of the run."""
        if Capability.CONTAINER_IMAGE in self.claimed:
            return self.container_image
        return self.image or registry().get(self.engine).default_image or FALLBACK_IMAGE

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Return a sandbox's settings with those of the run beneath; each engine runs at its own tier of isolation."""
        beneath = {"engine": self.engine, "options": self.options, "isolation": self.info.isolation}
        if self.image is not None:
            beneath["image"] = self.image
        return beneath | settings

    def sandbox(self, **settings: Any) -> Sandbox:
        """Return a sandbox that is not started yet."""
        return Sandbox(**self.settings(**settings))

    def async_sandbox(self, **settings: Any) -> AsyncSandbox:
        """Return one for asyncio that is not started yet."""
        return AsyncSandbox(**self.settings(**settings))


def enforced(box: Sandbox, *capabilities: Capability) -> None:
    """Go on only where hardening without a setting of its own is said to be in force.

    Hardening that nobody asked for is listed on `sandbox.unenforced` instead of being refused; this turns that honest
    word into the refusal that the verdict is made of.

    Args:
        box: A sandbox; it is started.
        capabilities: What the test is about.

    Raises:
        UnsupportedError: The sandbox says that one is not in force.
    """
    box.start()
    for capability in capabilities:
        if capability in box.unenforced:
            raise UnsupportedError(capability, box.engine.name if box.engine else "?", box.unenforced[capability])


@contextlib.contextmanager
def refused(match: str) -> Iterator[None]:
    """Expect a SandboxError whose text has that pattern.

    UnsupportedError is one too, and goes through: what it means is for the judge to say.

    Args:
        match: A regular expression.
    """
    with pytest.raises(SandboxError) as caught:
        yield
    if isinstance(caught.value, UnsupportedError):
        raise caught.value
    assert re.search(match, str(caught.value)), f"the error says {str(caught.value)!r}, expected {match!r} in it"
