"""Names, ids and lists of sandboxes, directly on an engine: what each engine of containers promises.

A plugin's tests give `engine` and `name`, and beside them

* `stranger`, the id of a container that is no sandbox.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from samebox.config.model import SandboxConfig
from samebox.errors import SandboxExistsError, SandboxGoneError, SandboxNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox.engine import Engine

LABELS = {"samebox.managed": "1", "samebox.name": "x", "mine": "yes"}


@pytest.fixture
def create(engine: Engine, busybox: str, name: str) -> Callable[..., str]:
    """Return what creates the sandbox of the test and gives its id."""

    def create(**settings: Any) -> str:
        config = SandboxConfig(**{"image": busybox, **settings})
        image = engine.ensure_image(config, print)
        return engine.create(config, image=image, name=name, labels=LABELS)

    return create


def test_list(engine: Engine, create: Callable[..., str], name: str, stranger: str) -> None:
    """What samebox made is in it, stopped ones included, and nothing else is."""
    sandbox = create()
    listed = {each.id: each for each in engine.list()}

    assert stranger not in listed
    assert listed[sandbox] == engine.inspect(sandbox)
    assert listed[sandbox].name == name


def test_the_beginning_of_an_id_is_no_name(engine: Engine, create: Callable[..., str]) -> None:
    """An engine takes it for one: to remove a sandbox named `a1` could have removed somebody else's container."""
    sandbox = create()
    for length in (6, 12):
        engine.remove(sandbox[:length])
        for call in (engine.inspect, engine.start, engine.stop):
            with pytest.raises(SandboxNotFoundError):
                call(sandbox[:length])
    assert engine.inspect(sandbox).state == "created"


def test_a_name_is_connected_to_as_well(engine: Engine, create: Callable[..., str], name: str) -> None:
    """But not the beginning of an id."""
    sandbox = create()
    engine.start(sandbox)
    engine.connect(name).close()
    with pytest.raises(SandboxGoneError):
        engine.connect(sandbox[:10])


def test_a_taken_name(engine: Engine, create: Callable[..., str], name: str) -> None:
    """The text names it; the one that has it is left alone."""
    sandbox = create()
    where = f"{engine.name.capitalize()} at {engine.probe().address}"
    text = f"a container named {name!r} is already on {where}; attach to it, remove it or choose another name"
    with pytest.raises(SandboxExistsError, match=f"^{re.escape(text)}$"):
        create()

    assert (engine.inspect(name).id, engine.inspect(name).state) == (sandbox, "created")
