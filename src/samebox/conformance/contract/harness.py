"""Harness: makes sandboxes on the engine under test, with what tests need beside sandboxes."""

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
"""The image of sandboxes where neither the engine nor the command line names one."""
ORDINARY_USER = "65534:65534"
"""A user without rights, as a number, since no image has to know a user's name."""
DEADLINE = 20.0
"""How long a call may take before it counts as hanging, in seconds; no call should take a tenth of this time."""

HARNESS = pytest.StashKey["Harness"]()
"""The key by which the fixtures find the harness."""

requires = pytest.mark.samebox_requires
verifies = pytest.mark.samebox_verifies


class Harness:
    """Makes sandboxes on the engine under test.

    Args:
        engine: The engine's name.
        options: The engine's own options.
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
        """The facts about the engine on this host.

        Raises:
            SandboxError: The engine can't be reached.
        """
        engine = make_engine(self.engine, self.options)
        try:
            return engine.probe()
        finally:
            engine.close()

    @property
    def container_image(self) -> str:
        """The name of a container image: the run's image, if that is a container image."""
        if self.image and image_capability(self.image) is Capability.CONTAINER_IMAGE:
            return self.image
        return FALLBACK_IMAGE

    @property
    def build_base(self) -> str:
        """The image that builds begin with: a container image, or the run's image on an engine without these."""
        if Capability.CONTAINER_IMAGE in self.claimed:
            return self.container_image
        return self.image or registry().get(self.engine).default_image or FALLBACK_IMAGE

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Return a sandbox's settings, above the run's settings; each engine runs at its own tier of isolation."""
        beneath = {"engine": self.engine, "options": self.options, "isolation": self.info.isolation}
        if self.image is not None:
            beneath["image"] = self.image
        return beneath | settings

    def sandbox(self, **settings: Any) -> Sandbox:
        """Return a sandbox that is not started yet."""
        return Sandbox(**self.settings(**settings))

    def async_sandbox(self, **settings: Any) -> AsyncSandbox:
        """Return a sandbox for asyncio that is not started yet."""
        return AsyncSandbox(**self.settings(**settings))


def enforced(box: Sandbox, *capabilities: Capability) -> None:
    """Go on only where the sandbox says that hardening without a setting of its own is in force.

    Hardening that was not asked for and is not in force is listed on `sandbox.unenforced` instead of being refused;
    this function turns that list into the refusal that the verdict is made of.

    Args:
        box: A sandbox, which is started if need be.
        capabilities: The capabilities that the test is about.

    Raises:
        UnsupportedError: The sandbox says that a capability is not in force.
    """
    box.start()
    for capability in capabilities:
        if capability in box.unenforced:
            raise UnsupportedError(capability, box.engine.name if box.engine else "?", box.unenforced[capability])


@contextlib.contextmanager
def refused(match: str) -> Iterator[None]:
    """Expect a SandboxError whose text matches a pattern.

    UnsupportedError, a SandboxError too, goes through, as the judge has to see it.

    Args:
        match: A regular expression.
    """
    with pytest.raises(SandboxError) as caught:
        yield
    if isinstance(caught.value, UnsupportedError):
        raise caught.value
    assert re.search(match, str(caught.value)), f"the error says {str(caught.value)!r}, expected {match!r} in it"
