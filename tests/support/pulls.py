"""Pulls from a real registry: what each engine that has one promises, and the registry.

A plugin's tests give `engine`, `url`, `make` and `remove_image`, and beside them

* `start`, which starts a registry,
* `logins`, the file in which the engine's `login` keeps credentials,
* `stored`, which tells what an engine has of an image, whole or not,
* `words`, what it says.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registry_server import OTHER, OWN, PASSWORD, BreakingRelay, RegistryServer, auth_file, credentials, layer
from samebox.config.build import ImageBuild
from samebox.config.model import SandboxConfig
from samebox.errors import ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox.engine import Engine

    Pull = Callable[..., tuple[str, list[str]]]
    Break = Callable[..., tuple[str, BreakingRelay]]

BIG = 16 << 20


@dataclass(frozen=True)
class PullWords:
    """What an engine says of pulls, as regular expressions; {image} and {url} stand for what is meant."""

    progress: str
    """All lines of a pull."""
    layer: str
    """A line of a layer that is on its way."""
    never: str
    """Why pull="never" found nothing."""
    missing: str
    """The whole beginning of what is said of a tag that the registry has not."""
    private: str
    """What is said without credentials."""
    unauthorized: str
    """What is said with wrong ones."""
    broken: str
    """What is said where they can't be read, and are needed; {logins} stands for their file."""

    def tell(self, lines: list[str], image: str) -> bool:
        """Whether some lines are the progress of a whole pull."""
        return re.fullmatch(self.progress.format(image=re.escape(image)), "\n".join(lines), re.DOTALL) is not None


@pytest.fixture
def registry(start: Callable[..., RegistryServer]) -> RegistryServer:
    """Return a registry that is open to all."""
    return start()


@pytest.fixture
def private(start: Callable[..., RegistryServer]) -> RegistryServer:
    """Return a registry that wants a password."""
    return start(private=True)


@pytest.fixture
def pull(engine: Engine) -> Pull:
    """Return what makes an image available, and tells its id and the progress."""

    def pull(image: str, policy: str = "missing", **settings: Any) -> tuple[str, list[str]]:
        lines: list[str] = []
        config = SandboxConfig.model_validate({"image": image, "pull": policy, **settings})
        return engine.ensure_image(config, lines.append), lines

    return pull


@pytest.fixture
def break_off(registry: RegistryServer) -> Iterator[Break]:
    """Return what stores a big image behind a relay that breaks in the middle of it; give both."""
    relays: list[BreakingRelay] = []

    def break_off(*, stall: bool = False) -> tuple[str, BreakingRelay]:
        relay = BreakingRelay(registry.address, BIG // 2, stall=stall)
        relays.append(relay)
        return registry.push("big", layer("x", BIG)).replace(registry.address, relay.address), relay

    yield break_off
    for relay in relays:
        relay.close()


def test_pull_shows_progress(
    registry: RegistryServer, pull: Pull, make: Callable[..., Sandbox], words: PullWords
) -> None:
    """An image comes from the registry, layer by layer, once; a sandbox runs it."""
    root = Path(os.environ.get("SAMEBOX_TEST_IMAGE_DIR", ""), "busybox.tar")
    image = registry.push("team/tool", layer("one", root=root), "1.0")
    found, lines = pull(image)

    assert words.tell(lines, image), lines
    assert pull(image) == (found, [])
    with make(image=image, pull="never") as box:
        assert box.read_text("/mark") == "one"


def test_when_to_pull(registry: RegistryServer, pull: Pull, words: PullWords) -> None:
    """A newer image under the same tag: "missing" and "never" don't see it, "always" does."""
    image = registry.push("moving", layer("old"))
    with pytest.raises(ImageNotFoundError, match=words.never):
        pull(image, "never")
    old, _ = pull(image)
    registry.push("moving", layer("new"))

    assert pull(image) == pull(image, "never") == (old, [])
    new, lines = pull(image, "always")
    assert new != old
    assert words.tell(lines, image), lines
    assert pull(image) == (new, [])


def test_platforms(registry: RegistryServer, pull: Pull) -> None:
    """Of an image of several platforms the one asked for, whatever is there already; else the engine's own."""
    image = registry.push_index("many", {OTHER: layer("other"), OWN: layer("own")})
    own, _ = pull(image)
    found = [pull(image, platform=f"linux/{name}")[0] for name in (OTHER, OTHER, OWN)]

    assert found[0] == found[1] != own
    assert found[2] == own
    with pytest.raises(ImageNotFoundError, match="s390x"):
        pull(image, platform="linux/s390x")


def test_builds_pull_their_base(registry: RegistryServer, engine: Engine, remove_image: Callable[[str], None]) -> None:
    """A build pulls what it begins with, anew with pull="always", and then builds anew."""
    image = registry.push("base", layer("old"))
    build = ImageBuild(dockerfile=f"FROM {image}\nLABEL a=b\n")
    found = [engine.build_image(SandboxConfig(build=build), print)]
    registry.push("base", layer("new"))
    found += [engine.build_image(SandboxConfig(build=build, pull=policy), print) for policy in ("missing", "always")]
    for built in set(found):
        remove_image(built)

    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", ["there:2", "nothing:1"])
def test_missing_tag(registry: RegistryServer, pull: Pull, url: str, words: PullWords, name: str) -> None:
    """What the registry does not have is told in its words, with the name, the engine's address and what to do."""
    registry.push("there", layer("x"), "1")
    image = f"{registry.address}/{name}"
    text = words.missing.format(image=re.escape(image), url=re.escape(url))
    with pytest.raises(ImageNotFoundError, match=f"(?s)^{text}"):
        pull(image)


def test_credentials(private: RegistryServer, pull: Pull, logins: Path, words: PullWords) -> None:
    """What the engine's `login` kept is used, also when it was kept later; no text has the password."""
    image = private.push("secret", layer("x"))
    with pytest.raises(ImageNotFoundError, match=words.private):
        pull(image)
    auth_file(logins, private.address, "wrong-horse")
    with pytest.raises(ImageNotFoundError, match=words.unauthorized) as caught:
        pull(image)
    auth_file(logins, private.address)
    lines = pull(image)[1]

    assert words.tell(lines, image), lines
    said = "\n".join([str(caught.value), *lines])
    for secret in (PASSWORD, "wrong-horse", credentials(), credentials("wrong-horse")):
        assert secret not in said


BROKEN = {
    "no-json": "{",
    "a-list": "[]",
    "auths-a-list": '{"auths": [1]}',
    "entry-a-text": '{"auths": {"REGISTRY": "hunter2"}}',
    "no-base64": '{"auths": {"REGISTRY": {"auth": "%hunter2"}}}',
    "no-colon": '{"auths": {"REGISTRY": {"auth": "aHVudGVyMg=="}}}',
    "missing-helper": '{"credHelpers": {"REGISTRY": "samebox-none"}}',
    "missing-store": '{"credsStore": "samebox-none"}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_credentials(
    start: Callable[..., RegistryServer], pull: Pull, logins: Path, words: PullWords, text: str
) -> None:
    """Credentials that can't be read are ignored where none are needed; else they are named, with what to do."""
    free, private = start(), start(private=True)
    image, secret = free.push("free", layer("x")), private.push("secret", layer("x"))
    logins.write_text(text.replace("REGISTRY", free.address))
    found, _ = pull(image)
    assert pull(image, "always")[0] == found
    assert pull(image, "never")[0] == found
    logins.write_text(text.replace("REGISTRY", private.address))
    with pytest.raises(ImageNotFoundError, match=words.broken.format(logins=re.escape(str(logins)))) as caught:
        pull(secret)
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_builds_without_credentials(
    registry: RegistryServer, engine: Engine, logins: Path, remove_image: Callable[[str], None], text: str
) -> None:
    """A build that begins with what is there, or is open to all, needs none."""
    image = registry.push("base", layer("x"))
    logins.write_text(text.replace("REGISTRY", registry.address))
    for mark in "ab":
        build = ImageBuild(dockerfile=f"FROM {image}\nLABEL mark={mark}{registry.address}\n")
        remove_image(engine.build_image(SandboxConfig(build=build), print))


def test_interrupted(break_off: Break, engine: Engine, stored: Callable[[str], set[str]], words: PullWords) -> None:
    """Whoever stops a pull is not held up, and the engine does not go on with it."""
    image, relay = break_off(stall=True)
    before = stored(image)

    def stop(line: str) -> None:
        if re.match(words.layer, line):
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        engine.ensure_image(SandboxConfig(image=image), stop)
    assert time.monotonic() - started < 5
    assert_nothing_new(stored, image, before)
    relay.close()
    assert_nothing_new(stored, image, before)


def assert_nothing_new(stored: Callable[[str], set[str]], image: str, before: set[str]) -> None:
    """Wait until what there was before a pull is all there is; an engine may put things aside, but not for long."""
    deadline = time.monotonic() + 20
    while left := stored(image) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
