"""A real service, of whose answers one has something of another shape: valid JSON, but not what it should be.

A plugin's tests give `engine`, `url`, `busybox`, `make`, `name`, `remove_image`, and `forget`, which makes the process
know nothing of the service.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import requests.adapters

from samebox.config.build import ImageBuild
from samebox.config.model import SandboxConfig
from samebox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox
    from samebox.engine import Engine

WRONG: tuple[Any, ...] = (None, [], {}, "", "x", -1, 2.5, True, [None], ["x"], {"x": None}, [[]])
TRIES = 6
"""For each answer of an operation; less for one that takes long."""


class Answers:
    """Counts a service's answers in JSON, and spoils one of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.spoilt: int | None = None
        self.chance = random.Random(0)  # noqa: S311 - the same ones each time
        original = requests.adapters.HTTPAdapter.send

        def send(adapter: Any, request: Any, stream: bool = False, **settings: Any) -> Any:  # noqa: FBT001, FBT002
            response = original(adapter, request, stream=stream, **settings)
            if not stream and "json" in response.headers.get("Content-Type", "") and response.status_code < 400:
                if self.count == self.spoilt:
                    response._content = json.dumps(self._spoil(json.loads(response.content))).encode()
                self.count += 1
            return response

        patch.setattr(requests.adapters.HTTPAdapter, "send", send)

    def _spoil(self, answer: Any) -> Any:
        """Replace one value by another, or take it away; those that are high up come more often."""
        holder: Any = {"": answer}
        key: Any = ""
        while isinstance(holder[key], dict | list) and holder[key] and self.chance.random() < 0.8:
            holder = holder[key]
            key = self.chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if self.chance.random() < 0.2 and holder is not answer and key != "":
            del holder[key]
            return answer
        holder[key] = self.chance.choice(WRONG)
        return holder[key] if key == "" else answer


def _made(engine: Engine, config: SandboxConfig, name: str) -> None:
    image = engine.ensure_image(config, print)
    engine.remove(engine.create(config, image=image, name=name, labels={"samebox": "1"}))


OPERATIONS: dict[str, Callable[[Engine, SandboxConfig, str, str], object]] = {
    "probe": lambda engine, *_: engine.probe(),
    "ensure-image": lambda engine, config, *_: engine.ensure_image(config, print),
    "inspect": lambda engine, _config, box, _name: engine.inspect(box),
    "list": lambda engine, *_: engine.list(),
    "host-port": lambda engine, _config, box, _name: engine.host_port(box, "80/tcp"),
    "connect": lambda engine, _config, box, _name: engine.connect(box, "0").close(),
    "volumes": lambda engine, *_: engine.volumes(),
    "create": lambda engine, config, _box, name: _made(engine, config, name),
    "build": lambda engine, config, _box, name: engine.build_image(
        SandboxConfig(build=ImageBuild(dockerfile=f"FROM {config.image}\nLABEL of={name}\n")), print
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_answers_of_another_shape(  # noqa: PLR0917 - fixtures
    operation: str,
    engine: Engine,
    url: str,
    make: Callable[..., Sandbox],
    busybox: str,
    name: str,
    forget: Callable[[], None],
    remove_image: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of them is an error with the call, the place in the answer, and what was found, or makes no difference."""
    config = SandboxConfig(image=busybox)
    said: list[str] = []
    with make() as box, monkeypatch.context() as patch:
        answers = Answers(patch)

        def run(spoilt: int | None = None) -> Any:
            forget()
            fresh = type(engine)({"url": url})
            answers.count, answers.spoilt = 0, spoilt
            try:
                return OPERATIONS[operation](fresh, config, box.id, name)
            except SandboxError as error:
                return said.append(str(error))
            finally:
                answers.spoilt = None
                fresh.close()

        made = run()
        count = answers.count
        for turn in range(count):
            for _ in range(2 if operation == "create" else TRIES):
                run(turn)
                if operation == "create":
                    engine.remove(name)
    if operation == "build":
        remove_image(made)
    forget()
    assert count > 0
    assert any("in a form that is not known: " in text for text in said), said
