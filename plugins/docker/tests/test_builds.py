"""Builds and snapshots: once for each content, without what is ignored, and with the words of what failed."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest

from samebox.config.build import ImageBuild, Runtime
from samebox.config.model import SandboxConfig
from samebox.errors import BuildError, ConfigError, EngineError, ImageNotFoundError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox
    from samebox_docker.engine import DockerEngine


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def built(engine: DockerEngine, raw: Any) -> Iterator[Callable[..., tuple[str, list[str]]]]:
    """Return what builds an image and gives its id and the progress; the image is removed after the test."""
    made: dict[str, None] = {}

    def build(**settings: Any) -> tuple[str, list[str]]:
        lines: list[str] = []
        others = {name: settings.pop(name) for name in ("pull", "platform") if name in settings}
        image = engine.build_image(SandboxConfig(build=ImageBuild(**settings), **others), lines.append)
        made[image] = None
        return image, lines

    yield build
    for image in reversed(made):
        with contextlib.suppress(docker.errors.APIError):
            raw.remove_image(image, force=True)


@pytest.fixture
def mark() -> str:
    """Return a word that makes an image one of its own."""
    return secrets.token_hex(8)


def test_once_for_each_content(built: Callable[..., tuple[str, list[str]]], busybox: str, mark: str) -> None:
    """The same content is built once; other arguments are other content."""
    text = f"FROM {busybox}\nARG WORD=none\nRUN echo {mark} $WORD > /mark\n"
    first, lines = built(dockerfile=text)
    again, silence = built(dockerfile=text)
    other, _ = built(dockerfile=text, args={"WORD": "x"})

    assert lines[0].startswith("Step 1/3 : FROM")
    assert (first, []) == (again, silence)
    assert other != first


def test_context(
    built: Callable[..., tuple[str, list[str]]], make: Callable[..., Sandbox], tmp_path: Path, busybox: str, mark: str
) -> None:
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


def test_runtime(
    built: Callable[..., tuple[str, list[str]]], make: Callable[..., Sandbox], busybox: str, mark: str, raw: Any
) -> None:
    """A Runtime gets its name, and its steps are what they say, quotes and all."""
    name = f"localhost/samebox-test-{mark}"
    step = ("sh", "-c", "echo \"$1\" '$HOME' > /mark", "sh", 'a "b" $c')
    runtime = Runtime(name="test", base_image=busybox, setup_commands=(step,), env={"WORD": "a $b"}, image=name)
    image, _ = built(runtime=runtime)

    assert image == raw.inspect_image(f"{name}:latest")["Id"]
    with make(image=name) as box:
        assert 'a "b" $c $HOME\n' == box.read_text("/mark")
        assert b"a $b\n" == box.sh('echo "$WORD"').stdout
    uncached, lines = built(runtime=runtime.model_copy(update={"cache": False}))
    assert lines
    assert uncached != image


def leftovers(raw: Any, mark: str) -> list[str]:
    """Return the ids of the images and containers that have a test's label."""
    filters = {"label": f"mark={mark}"}
    found = raw.images(all=True, filters=filters) + raw.containers(all=True, filters=filters)
    return sorted(each["Id"] for each in found)


def test_failure(built: Callable[..., tuple[str, list[str]]], busybox: str, mark: str, raw: Any) -> None:
    """A failing step is named with the last lines of its log alone; neither containers nor earlier steps stay."""
    text = f"FROM {busybox}\nLABEL mark={mark}\nRUN echo fine > /x && echo fine\nRUN seq 1 100 && false\n"
    with pytest.raises(BuildError, match=r"at 'Step 4/4 : RUN seq 1 100 && false': .*returned a non-zero") as caught:
        built(dockerfile=text)

    assert str(caught.value).endswith("\n  99\n  100")
    assert "fine" not in str(caught.value)
    assert not leftovers(raw, mark)


def test_a_step_that_prints_ids(built: Callable[..., tuple[str, list[str]]], busybox: str, mark: str, raw: Any) -> None:
    """A failed build removes what it made, not what its steps print as if they had."""
    built(dockerfile=f"FROM {busybox}\nLABEL mark={mark}\nRUN true\n")
    before = leftovers(raw, mark)
    lies = "".join(f"echo ' ---> {image.removeprefix('sha256:')[:12]}'; " for image in before)
    with pytest.raises(BuildError):
        built(dockerfile=f"FROM {busybox}\nLABEL mark={mark}\nRUN {lies} false\n")

    assert len(before) == 2
    assert before == leftovers(raw, mark)


def test_interrupted(engine: DockerEngine, busybox: str, mark: str, raw: Any) -> None:
    """Whoever stops a build leaves neither its container nor the steps that it has made."""

    def stop(line: str) -> None:
        if line == "going":
            assert len(leftovers(raw, mark)) == 2
            raise KeyboardInterrupt

    text = f"FROM {busybox}\nLABEL mark={mark}\nRUN echo going; sleep 60\n"
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        engine.build_image(SandboxConfig(build=ImageBuild(dockerfile=text)), stop)

    assert time.monotonic() - started < 30
    assert not leftovers(raw, mark)


def test_newer_base(built: Callable[..., tuple[str, list[str]]], busybox: str, mark: str, raw: Any) -> None:
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


def test_missing_base(built: Callable[..., tuple[str, list[str]]]) -> None:
    """A base that is not there is told as a missing image is, and a local name never goes to a network."""
    with pytest.raises(ImageNotFoundError, match=r"'localhost/samebox-no-such-image' .*is never pulled"):
        built(dockerfile="FROM localhost/samebox-no-such-image\n")
    with pytest.raises(ImageNotFoundError, match=r'may not be pulled \(pull="never"\)'):
        built(dockerfile="FROM samebox-no-such-image\n", pull="never")


def test_platform(built: Callable[..., tuple[str, list[str]]], busybox: str, mark: str, raw: Any) -> None:
    """A build is of the platform asked for, or refused: Docker takes its own for what begins with nothing."""
    own = f"linux/{raw.inspect_image(busybox)['Architecture']}"
    text = f"FROM {busybox}\nLABEL mark={mark}\n"
    assert built(dockerfile=text, platform=own)[0] != built(dockerfile=text + "LABEL other=1\n")[0]
    with pytest.raises(ImageNotFoundError, match=rf"the one there is of {own}, and linux/s390x is asked for"):
        built(dockerfile=text, platform="linux/s390x")
    before = leftovers(raw, mark)
    with pytest.raises(
        UnsupportedError, match=rf"FROM scratch is of the daemon's own platform, {own}, not linux/s390x"
    ):
        built(dockerfile=f"FROM scratch\nLABEL mark={mark}\n", platform="linux/s390x")
    assert leftovers(raw, mark) == before


@pytest.mark.parametrize("text", ["NONSENSE\n", ""], ids=["word", "no"])
def test_wrong_dockerfile(built: Callable[..., tuple[str, list[str]]], text: str) -> None:
    """A Dockerfile that Docker can't use is an error in its words."""
    with pytest.raises(BuildError, match="could not build the image"):
        built(dockerfile=text)


_BUILD = """
import sys
from samebox.config.model import SandboxConfig
from samebox_docker.engine import DockerEngine
engine = DockerEngine({"url": sys.argv[1]})
engine.build_image(SandboxConfig(build={"dockerfile": sys.argv[2]}), print)
engine.close()
"""


def test_two_processes(url: str, busybox: str, mark: str, built: Callable[..., tuple[str, list[str]]]) -> None:
    """Two processes that build the same at once build it once."""
    text = f"FROM {busybox}\nRUN sleep 2 && echo {mark} > /mark\n"
    argv = [sys.executable, "-c", _BUILD, url, text]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [process.communicate(timeout=50)[0] for process in processes]
    built(dockerfile=text)

    assert [0, 0] == [process.returncode for process in processes]
    assert 1 == sum("Step " in each for each in found), found


def test_snapshot(  # noqa: PLR0917 - fixtures
    built: Callable[..., tuple[str, list[str]]],
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
        with contextlib.suppress(docker.errors.NotFound):
            raw.remove_image(name)

    assert (["echo"], [mark], "/srv") == (config["Entrypoint"], config["Cmd"], config["WorkingDir"])
    assert mark == config["Labels"].pop("of-image")
    assert {""} == set(config["Labels"].values())
    assert "s3cr3t" not in repr(config)


def test_wrong_snapshot(make: Callable[..., Sandbox]) -> None:
    """A name that no image can have is refused."""
    with make() as box:
        with pytest.raises(EngineError, match="invalid reference format"):
            box.snapshot("NOT A NAME")
        with pytest.raises(ConfigError, match="no digest"):
            box.snapshot("name@sha256:" + "0" * 64)
