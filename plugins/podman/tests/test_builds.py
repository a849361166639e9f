"""Builds and snapshots: once for each content, nothing left of what failed, and images that start as the first did."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from builds import *  # noqa: F403 - its tests and fixtures
from builds import BuildWords
from samebox.config.build import ImageBuild
from samebox.config.model import SandboxConfig
from samebox.errors import ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builds import Built
    from samebox import Sandbox
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine

    Inspected = Callable[[str], dict[str, Any]]

WORDS = BuildWords(
    short="",
    first="STEP 1/4: FROM {image}",
    step="STEP ",
    failed=r"at '\[2/2\] STEP 2/3: RUN seq 1 100 && false': .*exit status 1",
    local="never fetched",
    never=r'may not be fetched \(pull="never"\)',
    unusable=r"^Podman at .* could not build the image: .*(FROM|no contents)",
)


@pytest.fixture
def words() -> BuildWords:
    """Return what Podman says."""
    return WORDS


@pytest.fixture
def inspected(client: PodmanClient) -> Inspected:
    """Return what tells what the service knows of an image."""

    def inspected(image: str) -> dict[str, Any]:
        found: dict[str, Any] = client.json(f"/images/{image.replace('/', '%2F')}/json")
        return found

    return inspected


@pytest.fixture
def leftovers(client: PodmanClient, mark: str) -> Callable[[], list[str]]:
    """Return what tells the images that have the test's label, and the containers that builds work in."""

    def leftovers() -> list[str]:
        images = client.json("/images/json", {"all": "true", "filters": json.dumps({"label": [f"mark={mark}"]})})
        containers = client.json("/containers/json", {"all": "true", "external": "true"})
        working = [each["Names"][0] for each in containers or [] if each["State"] == "storage"]
        return [each["Id"] for each in images or []] + [name for name in working if mark in name]

    return leftovers


def test_context(built: Built, make: Callable[..., Sandbox], tmp_path: Path, busybox: str, mark: str) -> None:
    """What .dockerignore leaves out is not sent, or .containerignore where there is no .dockerignore."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "File").write_text(f"FROM {busybox}\nCOPY . /context\n")
    (tmp_path / ".containerignore").write_text("*\n")
    (tmp_path / "kept").write_text(mark)
    image, _ = built(context=tmp_path, dockerfile="docker/File")
    with make(image=image) as box:
        assert {each.name for each in box.walk("/context")} == {"docker"}
    (tmp_path / ".dockerignore").write_text("docker\n.*ignore\n")
    image, _ = built(context=tmp_path, dockerfile="docker/File")
    with make(image=image) as box:
        assert {each.name for each in box.walk("/context")} == {"docker", "kept"}


def test_target_and_network(built: Built, make: Callable[..., Sandbox], busybox: str, mark: str) -> None:
    """A stage is built for itself; its steps have a network of their own, not the host's."""
    text = f"FROM {busybox} AS one\nRUN echo {mark} > /one; cp /proc/net/dev /dev-seen\nFROM one\nRUN false\n"
    image, lines = built(dockerfile=text, target="one")
    with make(image=image, network="host") as box:
        host = box.read_text("/proc/net/dev")
        seen = box.read_text("/dev-seen")
    assert any(line.startswith(("[1/2] STEP 2/2: RUN", "STEP 2/2: RUN")) for line in lines), lines
    names = [{line.split(":")[0].strip() for line in text.splitlines() if ":" in line} for text in (host, seen)]
    assert "lo" in names[1]
    assert names[0] != names[1]


def test_interrupted(
    engine: PodmanEngine, built: Built, busybox: str, mark: str, leftovers: Callable[[], list[str]]
) -> None:
    """Whoever stops a build is not held up; its step runs to its end, and then nothing of it stays."""
    base = f"localhost/{mark}"
    built(dockerfile=f"FROM {busybox}\nLABEL base={mark}\n", tag=base)
    seen: list[list[str]] = []

    def stop(line: str) -> None:
        if ": RUN echo going" in line:
            seen.append(leftovers())
            raise KeyboardInterrupt

    text = f"FROM {base}\nLABEL mark={mark}\nRUN echo going; sleep 3\nRUN sleep 60\n"
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        engine.build_image(SandboxConfig(build=ImageBuild(dockerfile=text)), stop)
    assert time.monotonic() - started < 3
    assert seen != [[]]
    while leftovers():
        assert time.monotonic() - started < 30, leftovers()
        time.sleep(0.2)


def test_nothing_but_a_base(built: Built, busybox: str, mark: str, leftovers: Callable[[], list[str]]) -> None:
    """A Dockerfile without a step leaves no container, as Podman's build does without `forcerm`."""
    base = f"localhost/{mark}"
    image, _ = built(dockerfile=f"FROM {busybox}\nLABEL mark={mark}\n", tag=base)
    other, _ = built(dockerfile=f"FROM {base}\n")
    assert sorted(leftovers()) == sorted({image, other})


def test_platform(built: Built, mark: str, inspected: Inspected) -> None:
    """A build is for the platform asked for, and another one is another image."""
    text = f"FROM scratch\nLABEL mark={mark}\n"
    image, _ = built(dockerfile=text, platform="linux/s390x")
    assert inspected(image)["Architecture"] == "s390x"
    assert built(dockerfile=text)[0] != image


def test_snapshot(  # noqa: PLR0917 - fixtures
    built: Built,
    make: Callable[..., Sandbox],
    engine: PodmanEngine,
    client: PodmanClient,
    inspected: Inspected,
    busybox: str,
    mark: str,
) -> None:
    """A snapshot starts as its image did, and is no sandbox, whatever the first one's settings were."""
    lines = ['LABEL of-image="a b"', 'ENTRYPOINT ["echo"]', f'CMD ["{mark}"]', "WORKDIR /srv", "HEALTHCHECK CMD true"]
    image, _ = built(dockerfile="\n".join([f"FROM {busybox}", *lines, ""]))
    name = f"samebox-test-{mark}:snap"
    settings = {"env": {"TOKEN": "s3cr3t"}, "labels": {"job": "1", "of-image": "mine"}, "hostname": "first"}
    try:
        with make(image=image, user="65534:65534", **settings) as box:
            box.write_text("file", "x")
            assert box.snapshot(name) == name
            assert box.read_text("file") == "x"
        found = inspected(f"localhost/{name}")
        with make(image=name, pull="always") as box:
            assert box.exec(["id", "-u"]).stdout == b"0\n"
            assert box.read_text("file") == "x"
            assert box.sh("echo $HOSTNAME").text == box.sh("hostname").text != "first\n"
            assert box.id in {status.id for status in engine.list()}
        with make(image=name, hostname="second") as box:
            assert box.sh("echo $HOSTNAME").text == "second\n"
    finally:
        with contextlib.suppress(ImageNotFoundError):
            engine.remove_image(name)

    config = found["Config"]
    assert (["echo"], [mark], "/srv") == (config["Entrypoint"], config["Cmd"], config["WorkingDir"])
    assert found["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]
    assert config["Labels"].pop("of-image") == "a b"
    assert config["Labels"].pop("samebox.made") == "snapshot"
    assert set(config["Labels"].values()) == {""}
    assert "s3cr3t" not in repr(config)


def test_the_name_of_a_snapshot(
    make: Callable[..., Sandbox], engine: PodmanEngine, inspected: Inspected, busybox: str, mark: str
) -> None:
    """A short name is one below localhost/, also where docker.io has one that is here, which stays as it is."""
    client, image = engine.client, inspected(busybox)["Id"]
    short = f"samebox-test-{mark}"
    client.call("post", f"/images/{image}/tag", params={"repo": f"docker.io/library/{short}", "tag": "latest"})
    try:
        with make() as box:
            box.snapshot(short)
        assert inspected(f"docker.io/library/{short}")["Id"] == image
        assert inspected(f"localhost/{short}")["Id"] != image
    finally:
        client.call("delete", f"/images/docker.io%2Flibrary%2F{short}")
        with contextlib.suppress(ImageNotFoundError):
            engine.remove_image(short)
