"""Builds and snapshots: once for each content, without what is ignored, and with the words of what failed."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builds import *  # noqa: F403 - its tests and fixtures
from builds import BuildWords
from samebox.config.build import ImageBuild
from samebox.config.model import SandboxConfig
from samebox.errors import BuildError, ImageNotFoundError, UnsupportedError
from samebox_docker import daemon
from samebox_docker.buildkit import progress
from samebox_docker.engine import DockerEngine
from samebox_docker.progress import StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builds import Built
    from samebox import Sandbox

WORDS = BuildWords(
    short="localhost/",
    first="Step 1/4 : FROM.*",
    step="Step ",
    failed=r"at 'Step 5/6 : RUN seq 1 100 && false': .*returned a non-zero",
    local="is never pulled",
    never=r'may not be pulled \(pull="never"\)',
    unusable="could not build the image",
)


@pytest.fixture
def words() -> BuildWords:
    """Return what Docker says."""
    return WORDS


@pytest.fixture
def inspected(raw: Any) -> Callable[[str], dict[str, Any]]:
    """Return what tells what the daemon knows of an image."""

    def inspected(image: str) -> dict[str, Any]:
        found: dict[str, Any] = raw.inspect_image(image)
        return found

    return inspected


@pytest.fixture
def leftovers(raw: Any, mark: str) -> Callable[[], list[str]]:
    """Return what tells the ids of the images and containers that have the test's label."""

    def leftovers() -> list[str]:
        filters = {"label": f"mark={mark}"}
        found = raw.images(all=True, filters=filters) + raw.containers(all=True, filters=filters)
        return sorted(each["Id"] for each in found)

    return leftovers


def test_context(built: Built, make: Callable[..., Sandbox], tmp_path: Path, busybox: str, mark: str) -> None:
    """What .dockerignore leaves out is not sent and changes nothing; a file's content does."""
    (tmp_path / "Dockerfile").write_text(f"FROM {busybox}\nCOPY . /context\n")
    (tmp_path / ".dockerignore").write_text("# secrets\n*.key\nbuild\n!build/keep\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "keep").write_text(mark)
    (tmp_path / "build" / "drop").write_text("x")
    (tmp_path / "a.key").write_text("x")
    first, _ = built(context=tmp_path)
    (tmp_path / "a.key").write_text("y")
    (tmp_path / "build" / "keep").touch()
    assert built(context=tmp_path) == (first, [])
    with make(image=first) as box:
        found = {each.name for each in box.walk("/context")}
    (tmp_path / "build" / "keep").write_text(mark + "2")

    assert {"Dockerfile", ".dockerignore", "build", "build/keep"} == found
    assert built(context=tmp_path)[0] != first


def test_a_step_that_prints_ids(built: Built, busybox: str, mark: str, leftovers: Callable[[], list[str]]) -> None:
    """A failed build removes what it made, not what its steps print as if they had."""
    built(dockerfile=f"FROM {busybox}\nLABEL mark={mark}\nRUN true\n")
    before = leftovers()
    lies = "".join(f"echo ' ---> {image.removeprefix('sha256:')[:12]}'; " for image in before)
    with pytest.raises(BuildError):
        built(dockerfile=f"FROM {busybox}\nLABEL mark={mark}\nRUN {lies} false\n")

    assert len(before) == 3  # with that of the label that samebox gives
    assert before == leftovers()


def test_interrupted(engine: DockerEngine, busybox: str, mark: str, leftovers: Callable[[], list[str]]) -> None:
    """Whoever stops a build leaves neither its container nor the steps that it has made."""

    def stop(line: str) -> None:
        if line == "going":
            assert len(leftovers()) == 2
            raise KeyboardInterrupt

    text = f"FROM {busybox}\nLABEL mark={mark}\nRUN echo going; sleep 60\n"
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        engine.build_image(SandboxConfig(build=ImageBuild(dockerfile=text)), stop)

    assert time.monotonic() - started < 30
    assert not leftovers()


def test_buildkit(built: Built, make: Callable[..., Sandbox], busybox: str, mark: str, tmp_path: Path) -> None:
    """What needs BuildKit is built with it, by the daemon's own frontend whatever the Dockerfile names, once."""
    (tmp_path / ("x" * 200)).write_text(mark)
    (tmp_path / "link").symlink_to("/etc/passwd")
    text = f"# syntax=docker/dockerfile:1\nFROM {busybox}\nCOPY --chmod=700 . /all\n"
    text += "RUN --mount=type=tmpfs,target=/x ls /x\n"
    (tmp_path / "Dockerfile").write_text(text)
    image, lines = built(context=tmp_path)
    assert built(context=tmp_path) == (image, [])
    # Some versions name the stage as well.
    assert [line.replace("[stage-0 ", "[") for line in lines if line.startswith("Step ")] == [
        f"Step [1/3] FROM {busybox}",
        "Step [2/3] COPY --chmod=700 . /all",
        "Step [3/3] RUN --mount=type=tmpfs,target=/x ls /x",
    ]
    with make(image=image) as box:
        assert box.read_text(f"/all/{'x' * 200}") == mark
        assert box.stat("/all/link", follow=False).target == "/etc/passwd"


def test_buildkit_that_fails(built: Built, busybox: str, mark: str, leftovers: Callable[[], list[str]]) -> None:
    """A failing step is named with the last lines of its log alone, and nothing stays."""
    text = f"FROM {busybox}\nLABEL mark={mark}\nRUN echo fine\nRUN --mount=type=tmpfs,target=/x seq 1 100 && false\n"
    step = r"Step \[(stage-0 )?3/3\] RUN --mount=type=tmpfs,target=/x seq 1 100 && false"
    with pytest.raises(BuildError, match=rf"could not build the image at '{step}': .*exit code: 1\n") as caught:
        built(dockerfile=text)
    assert str(caught.value).endswith("\n  99\n  100")
    assert "fine" not in str(caught.value)
    assert not leftovers()


def command_lines() -> Iterator[bytes]:
    """Yield those of all processes of this host."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def test_buildkit_that_is_interrupted(engine: DockerEngine, busybox: str, mark: str, raw: Any) -> None:
    """Whoever stops a build is not held up, and the daemon ends the step."""

    def stop(line: str) -> None:
        if line == mark:
            raise KeyboardInterrupt

    text = f"FROM {busybox}\nRUN --mount=type=tmpfs,target=/x echo {mark}; sleep 77\n"
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        engine.build_image(SandboxConfig(build=ImageBuild(dockerfile=text)), stop)
    assert time.monotonic() - started < 20
    while any(mark.encode() in line for line in command_lines()):
        assert time.monotonic() - started < 30
        time.sleep(0.1)


@pytest.mark.parametrize(
    "config",
    [
        {"proxies": {"default": {"httpProxy": "http://user:hunter2@proxy:1"}}, "auths": 5},
        {"proxies": {"default": {"httpProxy": [1]}}},
        {"proxies": {"default": "x"}},
        {"proxies": [1]},
        [1],
    ],
)
def test_proxies_of_the_command_line(
    url: str, busybox: str, mark: str, raw: Any, *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    """Those of config.json reach no build, as there may be a password in them; whatever is there hinders none."""
    monkeypatch.setattr(daemon, "_daemons", {})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = f"FROM {busybox}\nRUN echo {mark} got=$HTTP_PROXY.\n"
    lines: list[str] = []
    with contextlib.closing(DockerEngine({"url": url})) as engine:
        image = engine.build_image(SandboxConfig(build=ImageBuild(dockerfile=text)), lines.append)
    raw.remove_image(image, force=True)
    assert f"{mark} got=." in lines


def test_what_a_daemon_lacks(engine: DockerEngine, busybox: str, raw: Any) -> None:
    """What the daemon's version does not build is refused with the line, and who has it."""
    version = raw.version()["Version"]
    if tuple(map(int, version.split(".")[:1])) >= (23,):
        pytest.skip("this Docker builds all of it")
    words = (
        rf"RUN in line 3 of the Dockerfile: Docker {re.escape(version)} does not build here-documents; engine docker "
        "from Docker 23.0, engine podman from Podman 5.0, and engine bubblewrap have them"
    )
    build = ImageBuild(dockerfile=f"# syntax=docker/dockerfile:1\nFROM {busybox}\nRUN <<EOF\ntrue\nEOF\n")
    with pytest.raises(UnsupportedError, match=words):
        engine.build_image(SandboxConfig(build=build), print)


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x05ab", b"\x0f", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80" * 20]
)
def test_progress_that_is_none(data: bytes) -> None:
    """What is no progress ends the build with an error, or says nothing."""
    with contextlib.suppress(StreamError):
        assert list(progress([{"id": "moby.buildkit.trace", "aux": base64.b64encode(data).decode()}])) == []
    with pytest.raises(StreamError, match=r"can't be read"):
        list(progress([{"id": "moby.buildkit.trace", "aux": base64.b64encode(b"\x0b").decode()}]))
    wrong: tuple[Any, ...] = (None, "%", {}, 1)
    for aux in wrong:
        with pytest.raises(StreamError, match=r"can't be read"):
            list(progress([{"id": "moby.buildkit.trace", "aux": aux}]))


def test_newer_base(built: Built, busybox: str, mark: str, raw: Any) -> None:
    """What is built on an image is built anew when its name means another one."""
    base = f"localhost/samebox-test-{mark}"
    raw.tag(busybox, base)
    try:
        text = f"ARG BASE\nFROM ${{BASE}}:latest AS first\nFROM first\nRUN echo {mark} > /mark\n"
        first, _ = built(dockerfile=text, args={"BASE": base})
        assert built(dockerfile=text, args={"BASE": base}) == (first, [])
        newer, _ = built(dockerfile=f"FROM {busybox}\nLABEL mark={mark}\n", tag=base)
        second, lines = built(dockerfile=text, args={"BASE": base})
        assert raw.inspect_image(second)["RootFS"]["Layers"][:-1] == raw.inspect_image(newer)["RootFS"]["Layers"]
    finally:
        raw.remove_image(base)

    assert second != first
    assert lines


def test_platform(built: Built, busybox: str, mark: str, raw: Any, leftovers: Callable[[], list[str]]) -> None:
    """A build is of the platform asked for, or refused: Docker takes its own for what begins with nothing."""
    own = f"linux/{raw.inspect_image(busybox)['Architecture']}"
    text = f"FROM {busybox}\nLABEL mark={mark}\n"
    assert built(dockerfile=text, platform=own)[0] != built(dockerfile=text + "LABEL other=1\n")[0]
    with pytest.raises(ImageNotFoundError, match=rf"the one there is of {own}, and linux/s390x is asked for"):
        built(dockerfile=text, platform="linux/s390x")
    before = leftovers()
    with pytest.raises(
        UnsupportedError, match=rf"FROM scratch is of the daemon's own platform, {own}, not linux/s390x"
    ):
        built(dockerfile=f"FROM scratch\nLABEL mark={mark}\n", platform="linux/s390x")
    assert leftovers() == before


def test_snapshot(  # noqa: PLR0917 - fixtures
    built: Built,
    make: Callable[..., Sandbox],
    engine: DockerEngine,
    raw: Any,
    busybox: str,
    mark: str,
) -> None:
    """A snapshot starts as its image did, and is no sandbox, whatever the first one's settings were."""
    text = f'FROM {busybox}\nLABEL of-image={mark}\nENTRYPOINT ["echo"]\nCMD ["{mark}"]\nWORKDIR /srv\n'
    image, _ = built(dockerfile=text)
    name = f"localhost/samebox-test-{mark}:snap"
    try:
        with make(image=image, env={"TOKEN": "s3cr3t"}, labels={"job": "1"}, user="65534:65534") as box:
            box.write_text("file", "x")
            assert name == box.snapshot(name)
            assert "x" == box.read_text("file")
        config = raw.inspect_image(name)["Config"]
        container = raw.create_container(name)["Id"]
        try:
            assert container not in {status.id for status in engine.list()}
        finally:
            raw.remove_container(container)
        with make(image=name) as box:
            assert b"0\n" == box.exec(["id", "-u"]).stdout
            assert box.id in {status.id for status in engine.list()}
    finally:
        with contextlib.suppress(ImageNotFoundError):
            engine.remove_image(name)

    assert (["echo"], [mark], "/srv") == (config["Entrypoint"], config["Cmd"], config["WorkingDir"])
    assert mark == config["Labels"].pop("of-image")
    assert "snapshot" == config["Labels"].pop("samebox.made")
    assert {""} == set(config["Labels"].values())
    assert "s3cr3t" not in repr(config)
