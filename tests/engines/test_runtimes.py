"""Runtimes for real: packages from Debian's and Python's indexes, installed by each engine's build and used."""

from __future__ import annotations

import contextlib
import shutil
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from samebox import Sandbox, SandboxConfig
from samebox.capabilities import Capability
from samebox.config.build import ImageBuild, Runtime
from samebox.engine.registry import make_engine
from samebox.errors import BuildError, UnsupportedError
from samebox.images.presets import runtimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from targets import Target

    Build = Callable[[ImageBuild], tuple[str, list[str]]]

NAME = "localhost/samebox-test-runtime"
"""What the images are called."""
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def build(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Return what builds an image, and tells its id and the log; the images are gone after the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # bubblewrap's images, too
    engine = make_engine(target.engine, target.options)
    made: dict[str, None] = {}

    def build(what: ImageBuild) -> tuple[str, list[str]]:
        lines: list[str] = []
        image = engine.build_image(SandboxConfig(build=what), lines.append)
        made[image] = None
        return image, lines

    yield build
    for image in reversed(made):
        _remove(target, engine, image)
    engine.close()


def _remove(target: Target, engine: Any, image: str) -> None:
    if target.engine == "docker":
        import docker  # noqa: PLC0415 - it takes its time

        with contextlib.closing(docker.APIClient(base_url=target.options.get("url"), version="auto")) as client:
            client.remove_image(image, force=True)
    elif target.engine == "podman":
        engine.client.call("delete", f"/images/{image}", params={"force": "true"})


@pytest.fixture
def python(target: Target, build: Build, tmp_path: Path) -> str:
    """Return a base with Python and pip, which trusts whom this host trusts: its index may be a mirror."""
    (tmp_path / "context").mkdir()
    shutil.copy(
        ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt", tmp_path / "context" / "ca"
    )
    base = target.settings("debian")["image"]
    text = f"FROM {base}\nCOPY ca /etc/host-ca\nENV PIP_CERT=/etc/host-ca PIP_DISABLE_PIP_VERSION_CHECK=1\n"
    (tmp_path / "context" / "Dockerfile").write_text(text)
    name = "localhost/samebox-test-python"
    build(ImageBuild(context=tmp_path / "context", tag=name))
    return name


def _box(target: Target) -> Sandbox:
    return Sandbox(engine=target.engine, options=target.options, image=NAME)


def test_pip_packages(target: Target, build: Build, python: str) -> None:
    """The packages of a preset, from the index, are there in a sandbox without a network."""
    preset = runtimes()["python-web"].model_copy(update={"base_image": python, "image": NAME})
    image, lines = build(ImageBuild(runtime=preset))

    assert any("Successfully installed" in line and "fastapi" in line for line in lines), lines[-5:]
    assert build(ImageBuild(runtime=preset)) == (image, [])
    with _box(target) as box:
        result = box.exec(["python3", "-c", "import fastapi, uvicorn, httpx, jinja2; print(fastapi.__version__)"])
        assert (result.exit_code, result.text.count(".")) == (0, 2), result


def test_a_package_that_there_is_not(build: Build, python: str) -> None:
    """The error has the step, and what pip said last."""
    runtime = Runtime(name="none", base_image=python, packages=("samebox-no-such-package==1.0",))
    with pytest.raises(BuildError, match=r"(?s)RUN .*pip.*samebox-no-such-package==1\.0") as caught:
        build(ImageBuild(runtime=runtime))
    assert "No matching distribution found for samebox-no-such-package==1.0" in str(caught.value)


def test_apt_packages(target: Target, build: Build) -> None:
    """A package from Debian's archive is installed and works; where apt can't be used, that is said before."""
    runtime = Runtime(
        name="greeter",
        base_image=target.settings("debian")["image"],
        package_manager="apt",
        packages=("hello",),
        setup_commands=(("sh", "-c", "hello --greeting=$GREETING > /etc/greeting"),),
        env={"GREETING": "moin"},
        image=NAME,
    )
    if target.engine == "bubblewrap":
        with pytest.raises(UnsupportedError, match="apt becomes other users") as caught:
            build(ImageBuild(runtime=runtime))
        assert caught.value.capability is Capability.BUILD
        return
    build(ImageBuild(runtime=runtime))
    with _box(target) as box:
        assert box.exec(["hello"]).text == "Hello, world!\n"
        assert box.read_text("/etc/greeting") == "moin\n"
        assert box.sh("pwd; echo $GREETING").text == "/workspace\nmoin\n"
