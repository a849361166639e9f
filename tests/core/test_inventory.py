"""What samebox has made, on several engines at once."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from fakes import Point, engine, plugin
from samebox import Capability, EngineError, ImageNotFoundError, SandboxNotFoundError, UnsupportedError
from samebox.engine import ImageStatus, SandboxStatus, VolumeStatus
from samebox.engine.labels import KEEP, MANAGED, OWNER
from samebox.engine.registry import Registry
from samebox.errors import EngineUnavailableError
from samebox.sandbox.inventory import Inventory
from samebox.sandbox.owner import Owner

HERE = Owner.current()
DEAD = str(replace(HERE, started=HERE.started + 1))


def status(name: str, owner: str = str(HERE), **labels: str) -> SandboxStatus:
    """Return what an engine knows of a sandbox."""
    return SandboxStatus(f"id-{name}", name, "running", labels={MANAGED: "1", OWNER: owner, **labels})


def having(
    name: str, *sandboxes: SandboxStatus, volumes: tuple[str, ...] | None = None, images: tuple[ImageStatus, ...] = ()
) -> Any:
    """Return a class of an engine that has some sandboxes and images, and volumes if it has such a thing at all."""
    gone: list[str] = []
    capabilities = frozenset({Capability.CONTAINER_IMAGE} | ({Capability.VOLUMES} if volumes is not None else set()))
    attributes: dict[str, Any] = {
        "capabilities": capabilities,
        "gone": gone,
        "list": lambda _self: [each for each in sandboxes if each.id not in gone],
        "remove": lambda _self, sandbox_id: gone.append(sandbox_id),
        "images": lambda _self: images,
        "remove_image": lambda _self, each: gone.append(each),
    }
    if volumes is not None:
        attributes["volumes"] = lambda _self: [VolumeStatus(each) for each in volumes]
        attributes["remove_volume"] = lambda _self, each: gone.append(each)
    return engine(name, **attributes)


def inventory(*classes: Any, names: tuple[str, ...] = ()) -> Inventory:
    """Return the inventory of some engines."""
    return Inventory(names, Registry([Point(found.name, plugin(found)) for found in classes], ()))


def test_only_what_a_dead_owner_left_is_abandoned() -> None:
    """Neither what lives or is to be kept, nor what an unknown or far owner has, nor what samebox did not make."""
    foreign = replace(status("foreign", DEAD), labels={OWNER: DEAD})
    docker = having(
        "docker",
        status("dead", DEAD),
        status("alive"),
        status("kept", DEAD, **{KEEP: "1"}),
        status("unknown", ""),
        status("far", str(replace(HERE, host="far@"))),
        foreign,
    )

    assert [str(entry) for entry in inventory(docker).abandoned()] == ["docker dead"]


def test_a_name_on_several_engines_is_not_guessed() -> None:
    """One of two sandboxes or volumes of a name would be the wrong one."""
    docker = having("docker", status("web"), volumes=("cache",))
    podman = having("podman", status("web"), volumes=("cache",))
    both = inventory(docker, podman)

    with pytest.raises(EngineError, match="there is a sandbox 'web' on docker and podman; say which one with --engine"):
        both.sandbox("web")
    with pytest.raises(EngineError, match="there is a volume 'cache' on docker and podman; say which one"):
        both.volume("cache")
    one = inventory(docker, podman, names=("podman",))
    one.remove(one.sandbox("web"))
    one.remove(one.volume("cache"))
    assert (docker.gone, podman.gone) == ([], ["id-web", "cache"])


def test_an_engine_that_nobody_named_may_be_away() -> None:
    """The others are told of; what is missing is said, also where something was looked for in vain."""
    away = engine("podman", "cannot reach it", list=_unavailable)
    some = inventory(having("docker", status("web")), away)

    assert [str(entry) for entry in some.sandboxes()] == ["docker web"]
    assert some.unreachable == {"podman": "cannot reach it"}
    with pytest.raises(
        SandboxNotFoundError, match="no sandbox 'x' that samebox made on docker, podman; cannot reach it"
    ):
        some.sandbox("x")
    with pytest.raises(EngineUnavailableError, match="cannot reach it"):
        inventory(away, names=("podman",)).sandboxes()


def test_an_engine_without_volumes_refuses_only_if_it_is_named() -> None:
    """There is nothing to list on it."""
    docker, plain = having("docker", volumes=("cache",)), having("plain")

    assert [str(entry) for entry in inventory(docker, plain).volumes()] == ["docker cache"]
    with pytest.raises(UnsupportedError, match="'plain' does not support volumes"):
        inventory(docker, plain, names=("plain",)).volumes()


def test_images_are_found_by_name_and_id() -> None:
    """On whichever engine; one name on two of them is not guessed, and an engine that makes none has none."""
    docker = having("docker", images=(ImageStatus("1", "build", ("b", "app")), ImageStatus("2", "archive")))
    podman = having("podman", images=(ImageStatus("3", "snapshot", ("app",)),))
    some = inventory(docker, engine("plain"), podman)

    assert [str(entry) for entry in some.images()] == ["docker 2", "docker b, app", "podman app"]
    assert some.image("b:latest").as_dict() == {
        "engine": "docker",
        "id": "1",
        "names": ["b", "app"],
        "kind": "build",
        "size": 0,
        "created": None,
        "used": None,
        "used_by": [],
    }
    with pytest.raises(EngineError, match="there is an image 'app' on docker and podman; say which one with --engine"):
        some.image("app")
    with pytest.raises(ImageNotFoundError, match="there is no image 'x' that samebox made on docker, plain, podman"):
        some.image("x")
    some.remove(some.image("2"))
    assert docker.gone == ["2"]


def test_stale_images() -> None:
    """Neither what is young or was used lately, nor what is in use, nor what nobody knows the age of."""
    now = time.time()
    facts: dict[str, dict[str, Any]] = {
        "old": {"created": now - 101},
        "old-use": {"created": now - 200, "used": now - 101},
        "young": {"created": now - 99},
        "lately": {"created": now - 200, "used": now - 99},
        "noted": {"used": now - 101},
        "unknown": {},
        "busy": {"created": now - 101, "used_by": ("box",)},
    }
    docker = having("docker", images=tuple(ImageStatus(name, "build", (name,), **more) for name, more in facts.items()))

    assert [entry.status.id for entry in inventory(docker).stale_images(100)] == ["noted", "old", "old-use"]


def test_what_no_sandbox_has_any_more_is_pruned_on_every_engine() -> None:
    """What was removed is told with its engine; an engine that nobody named may be away."""
    docker = engine("docker", prune=lambda _self: ["network samebox-sandboxes"])
    away = engine("podman", prune=_unavailable)
    some = inventory(docker, away, having("plain"))

    assert some.prune() == ["docker network samebox-sandboxes"]
    assert some.unreachable == {"podman": "cannot reach it"}
    with pytest.raises(EngineUnavailableError, match="cannot reach it"):
        inventory(away, names=("podman",)).prune()


def _unavailable(_engine: object) -> list[SandboxStatus]:
    msg = "cannot reach it"
    raise EngineUnavailableError(msg)
