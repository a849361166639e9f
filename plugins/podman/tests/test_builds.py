"""Builds and snapshots: once for each content, nothing left of what failed, and images that start as the first did."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.config.build import ImageBuild, Runtime
from samebox.config.model import SandboxConfig
from samebox.errors import BuildError, ConfigError, EngineError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine

    Built = Callable[..., tuple[str, list[str]]]


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def built(engine: PodmanEngine, client: PodmanClient) -> Iterator[Built]:
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
        client.call("delete", f"/images/{image}", params={"force": "true"}, accept=(404, 409, 500))


@pytest.fixture
def mark() -> str:
    """Return a word that makes an image one of its own."""
    return secrets.token_hex(8)


def inspected(client: PodmanClient, image: str) -> dict[str, Any]:
    """Return what the service tells of an image."""
    found: dict[str, Any] = client.json(f"/images/{image.replace('/', '%2F')}/json")
    return found


def leftovers(client: PodmanClient, mark: str) -> list[str]:
    """Return the images that have a test's label, and the containers that builds work in."""
    images = client.json("/images/json", {"all": "true", "filters": json.dumps({"label": [f"mark={mark}"]})})
    containers = client.json("/containers/json", {"all": "true", "external": "true"})
    working = [each["Names"][0] for each in containers or [] if each["State"] == "storage"]
    return [each["Id"] for each in images or []] + [name for name in working if mark in name]


def test_once_for_each_content(built: Built, busybox: str, mark: str) -> None:
    """The same content is built once; other arguments are other content."""
    text = f"FROM {busybox}\nARG WORD=none\nRUN echo {mark} $WORD > /mark\n"
    first, lines = built(dockerfile=text)
    again, silence = built(dockerfile=text)
    other, _ = built(dockerfile=text, args={"WORD": "x"})

    assert lines[0] == f"STEP 1/3: FROM {busybox}"
    assert (first, []) == (again, silence)
    assert other != first


def test_context(built: Built, make: Callable[..., Sandbox], tmp_path: Path, busybox: str, mark: str) -> None:
    """What .dockerignore leaves out is not sent; .containerignore, which Docker does not know, is a file as others."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "File").write_text(f"FROM {busybox}\nCOPY . /context\n")
    (tmp_path / ".containerignore").write_text("*\n")
    (tmp_path / "kept").write_text(mark)
    image, _ = built(context=tmp_path, dockerfile="docker/File")
    with make(image=image) as box:
        assert {each.name for each in box.walk("/context")} == {".containerignore", "docker", "docker/File", "kept"}
    (tmp_path / ".dockerignore").write_text("docker\n.*ignore\n")
    image, _ = built(context=tmp_path, dockerfile="docker/File")
    with make(image=image) as box:
        assert {each.name for each in box.walk("/context")} == {"kept"}


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


def test_runtime(built: Built, make: Callable[..., Sandbox], busybox: str, mark: str, client: PodmanClient) -> None:
    """A Runtime gets its name, and its steps are what they say, quotes and all."""
    name = f"samebox-test-{mark}"
    step = ("sh", "-c", "echo \"$1\" '$HOME' > /mark", "sh", 'a "b" $c')
    runtime = Runtime(name="test", base_image=busybox, setup_commands=(step,), env={"WORD": "a $b"}, image=name)
    image, _ = built(runtime=runtime)

    assert image == inspected(client, f"localhost/{name}:latest")["Id"]
    with make(image=name) as box:
        assert box.read_text("/mark") == 'a "b" $c $HOME\n'
        assert box.sh('echo "$WORD"').stdout == b"a $b\n"
    uncached, lines = built(runtime=runtime.model_copy(update={"cache": False}))
    assert lines
    assert uncached != image


def test_failure(built: Built, busybox: str, mark: str, client: PodmanClient) -> None:
    """A failing step is named with the last lines of its log alone; neither containers nor earlier steps stay."""
    text = f"FROM {busybox} AS {mark}\nLABEL mark={mark}\nRUN echo fine\nFROM {mark}\nRUN seq 1 100 && false\n"
    with pytest.raises(BuildError, match=r"at '\[2/2\] STEP 2/2: RUN seq 1 100 && false': .*exit status 1") as caught:
        built(dockerfile=text)

    assert str(caught.value).endswith("\n  99\n  100")
    assert "fine" not in str(caught.value)
    assert not leftovers(client, mark)


def test_interrupted(engine: PodmanEngine, built: Built, busybox: str, mark: str, client: PodmanClient) -> None:
    """Whoever stops a build is not held up; its step runs to its end, and then nothing of it stays."""
    base = f"localhost/{mark}"
    built(dockerfile=f"FROM {busybox}\nLABEL base={mark}\n", tag=base)
    seen: list[list[str]] = []

    def stop(line: str) -> None:
        if ": RUN echo going" in line:
            seen.append(leftovers(client, mark))
            raise KeyboardInterrupt

    text = f"FROM {base}\nLABEL mark={mark}\nRUN echo going; sleep 3\nRUN sleep 60\n"
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        engine.build_image(SandboxConfig(build=ImageBuild(dockerfile=text)), stop)
    assert time.monotonic() - started < 3
    assert seen != [[]]
    while leftovers(client, mark):
        assert time.monotonic() - started < 30, leftovers(client, mark)
        time.sleep(0.2)


def test_nothing_but_a_base(built: Built, busybox: str, mark: str, client: PodmanClient) -> None:
    """A Dockerfile without a step leaves no container, as Podman's build does without `forcerm`."""
    base = f"localhost/{mark}"
    image, _ = built(dockerfile=f"FROM {busybox}\nLABEL mark={mark}\n", tag=base)
    assert built(dockerfile=f"FROM {base}\n")[0] == image
    assert leftovers(client, mark) == [image]


def test_platform(built: Built, mark: str, client: PodmanClient) -> None:
    """A build is for the platform asked for, and another one is another image."""
    text = f"FROM scratch\nLABEL mark={mark}\n"
    image, _ = built(dockerfile=text, platform="linux/s390x")
    assert inspected(client, image)["Architecture"] == "s390x"
    assert built(dockerfile=text)[0] != image


def test_missing_base(built: Built) -> None:
    """A base that is not there is told as a missing image is, and a local name never goes to a network."""
    with pytest.raises(ImageNotFoundError, match=r"'localhost/samebox-no-such-image' .*never fetched"):
        built(dockerfile="FROM localhost/samebox-no-such-image\n")
    with pytest.raises(ImageNotFoundError, match=r'may not be fetched \(pull="never"\)'):
        built(dockerfile="FROM samebox-no-such-image\n", pull="never")


@pytest.mark.parametrize("text", ["NONSENSE\n", ""], ids=["word", "no"])
def test_wrong_dockerfile(built: Built, text: str) -> None:
    """A Dockerfile that Podman can't use is an error in its words."""
    with pytest.raises(BuildError, match=r"^Podman at .* could not build the image: .*(FROM|no contents)"):
        built(dockerfile=text)


_BUILD = """
import sys
from samebox.config.model import SandboxConfig
from samebox_podman.engine import PodmanEngine
engine = PodmanEngine({"url": sys.argv[1]})
engine.build_image(SandboxConfig(build={"dockerfile": sys.argv[2]}), print)
engine.close()
"""


def test_two_processes(url: str, busybox: str, mark: str, built: Built) -> None:
    """Two processes that build the same at once build it once."""
    text = f"FROM {busybox}\nRUN sleep 2 && echo {mark} > /mark\n"
    argv = [sys.executable, "-c", _BUILD, url, text]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [process.communicate(timeout=50)[0] for process in processes]
    built(dockerfile=text)

    assert [process.returncode for process in processes] == [0, 0]
    assert sum("STEP " in each for each in found) == 1, found


def test_snapshot(  # noqa: PLR0917 - fixtures
    built: Built,
    make: Callable[..., Sandbox],
    engine: PodmanEngine,
    client: PodmanClient,
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
        found = inspected(client, f"localhost/{name}")
        with make(image=name, pull="always") as box:
            assert box.exec(["id", "-u"]).stdout == b"0\n"
            assert box.read_text("file") == "x"
            assert box.sh("echo $HOSTNAME").text == box.sh("hostname").text != "first\n"
            assert box.id in {status.id for status in engine.list()}
        with make(image=name, hostname="second") as box:
            assert box.sh("echo $HOSTNAME").text == "second\n"
    finally:
        client.call("delete", f"/images/localhost%2F{name}", accept=(404,))

    config = found["Config"]
    assert (["echo"], [mark], "/srv") == (config["Entrypoint"], config["Cmd"], config["WorkingDir"])
    assert found["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]
    assert config["Labels"].pop("of-image") == "a b"
    assert set(config["Labels"].values()) == {""}
    assert "s3cr3t" not in repr(config)


def test_the_name_of_a_snapshot(make: Callable[..., Sandbox], client: PodmanClient, busybox: str, mark: str) -> None:
    """A short name is one below localhost/, also where docker.io has one that is here, which stays as it is."""
    image = inspected(client, busybox)["Id"]
    short = f"samebox-test-{mark}"
    client.call("post", f"/images/{image}/tag", params={"repo": f"docker.io/library/{short}", "tag": "latest"})
    try:
        with make() as box:
            box.snapshot(short)
        assert inspected(client, f"docker.io/library/{short}")["Id"] == image
        assert inspected(client, f"localhost/{short}")["Id"] != image
    finally:
        for repository in ("docker.io/library", "localhost"):
            with contextlib.suppress(EngineError):
                client.call("delete", f"/images/{repository.replace('/', '%2F')}%2F{short}")


def test_wrong_snapshot(make: Callable[..., Sandbox]) -> None:
    """A name that no image can have is refused."""
    with make() as box:
        with pytest.raises(EngineError, match=r"could not make the image 'NOT A NAME': .*invalid reference format"):
            box.snapshot("NOT A NAME")
        with pytest.raises(ConfigError, match="no digest"):
            box.snapshot("name@sha256:" + "0" * 64)
