"""Builds and snapshots: what each engine that has its own builder promises.

A plugin's tests give `engine`, `url`, `busybox`, `make` and `remove_image`, and beside them

* `inspected`, which returns what the engine tells of an image,
* `leftovers`, which returns what there is of builds with the label mark=`mark`,
* `words`, what the engine says.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from samebox.config.build import ImageBuild, Runtime
from samebox.config.model import SandboxConfig
from samebox.errors import BuildError, ConfigError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox.engine import Engine

    Built = Callable[..., tuple[str, list[str]]]

_BUILD = """
import sys
from samebox.config.model import SandboxConfig
from {module} import {engine}
engine = {engine}({{"url": sys.argv[1]}})
engine.build_image(SandboxConfig(build={{"dockerfile": sys.argv[2]}}), print)
engine.close()
"""


@dataclass(frozen=True)
class BuildWords:
    """What an engine says of builds, as regular expressions; {image} stands for the one that a build begins with."""

    short: str
    """What a name below localhost/ begins with, as one may write it there."""
    first: str
    """The first line of a build with three steps."""
    step: str
    """What a step's line begins with."""
    failed: str
    """What is said of the last step of the second stage."""
    local: str
    """Why an image below localhost/ was not brought."""
    never: str
    """Why pull="never" found nothing."""
    unusable: str
    """What is said of a Dockerfile that is none."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find the locks of another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def built(engine: Engine, remove_image: Callable[[str], None]) -> Iterator[Built]:
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
        remove_image(image)


@pytest.fixture
def mark() -> str:
    """Return a word that makes an image one of its own."""
    return secrets.token_hex(8)


def test_once_for_each_content(built: Built, busybox: str, mark: str, words: BuildWords) -> None:
    """The same content is built once; other arguments are other content."""
    text = f"FROM {busybox}\nARG WORD=none\nRUN echo {mark} $WORD > /mark\n"
    first, lines = built(dockerfile=text)
    again, silence = built(dockerfile=text)
    other, _ = built(dockerfile=text, args={"WORD": "x"})

    assert re.fullmatch(words.first.format(image=re.escape(busybox)), lines[0])
    assert (first, []) == (again, silence)
    assert other != first


def test_runtime(  # noqa: PLR0917 - fixtures
    built: Built,
    make: Callable[..., Sandbox],
    busybox: str,
    mark: str,
    inspected: Callable[[str], dict[str, Any]],
    words: BuildWords,
) -> None:
    """A Runtime gets its name, and its steps are what they say, quotes and all."""
    name = f"{words.short}samebox-test-{mark}"
    step = ("sh", "-c", "echo \"$1\" '$HOME' > /mark", "sh", 'a "b" $c')
    runtime = Runtime(name="test", base_image=busybox, setup_commands=(step,), env={"WORD": "a $b"}, image=name)
    image, _ = built(runtime=runtime)

    assert image == inspected(f"localhost/samebox-test-{mark}:latest")["Id"]
    with make(image=name) as box:
        assert box.read_text("/mark") == 'a "b" $c $HOME\n'
        assert box.sh('echo "$WORD"').stdout == b"a $b\n"
    uncached, lines = built(runtime=runtime.model_copy(update={"cache": False}))
    assert lines
    assert uncached != image


@pytest.mark.parametrize("before", ["", "RUN mkdir /workspace && chmod 755 /workspace\n"], ids=["missing", "made"])
@pytest.mark.parametrize("user", ["1000:1000", "0:0"], ids=["ordinary", "root"])
def test_volume_at_the_workdir(
    built: Built, make: Callable[..., Sandbox], busybox: str, user: str, before: str
) -> None:
    """A workdir that is a volume of the image is the user's, whether the image has a directory there or not."""
    image, _ = built(dockerfile=f"FROM {busybox}\n{before}VOLUME /workspace\n")
    with make(image=image, user=user) as box:
        assert box.sh("echo x > by-exec && mkdir d && stat -c %u:%g . by-exec d").check().text == f"{user}\n" * 3
        box.write_text("by-files", "x")
        assert box.stat("by-files").uid == int(user.partition(":")[0])


def test_failure(built: Built, busybox: str, mark: str, leftovers: Callable[[], list[str]], words: BuildWords) -> None:
    """A failing step is named with the last lines of its log alone; neither containers nor earlier steps stay."""
    text = f"FROM {busybox} AS of-{mark}\nLABEL mark={mark}\nRUN echo fine > /x && echo fine\n"
    with pytest.raises(BuildError, match=words.failed) as caught:
        built(dockerfile=f"{text}FROM of-{mark}\nRUN seq 1 100 && false\n")

    assert str(caught.value).endswith("\n  99\n  100")
    assert "fine" not in str(caught.value)
    assert not leftovers()


def test_missing_base(built: Built, words: BuildWords) -> None:
    """A base that is not there is told as a missing image is, and a local name never goes to a network."""
    with pytest.raises(ImageNotFoundError, match=rf"'localhost/samebox-no-such-image' .*{words.local}"):
        built(dockerfile="FROM localhost/samebox-no-such-image\n")
    with pytest.raises(ImageNotFoundError, match=words.never):
        built(dockerfile="FROM samebox-no-such-image\n", pull="never")


@pytest.mark.parametrize("text", ["NONSENSE\n", ""], ids=["word", "no"])
def test_wrong_dockerfile(built: Built, text: str, words: BuildWords) -> None:
    """A Dockerfile that the engine can't use is an error in its words."""
    with pytest.raises(BuildError, match=words.unusable):
        built(dockerfile=text)


def test_two_processes(  # noqa: PLR0917 - fixtures
    engine: Engine, url: str, busybox: str, mark: str, built: Built, words: BuildWords
) -> None:
    """Two processes that build the same at once build it once."""
    text = f"FROM {busybox}\nRUN sleep 2 && echo {mark} > /mark\n"
    code = _BUILD.format(module=type(engine).__module__, engine=type(engine).__name__)
    argv = [sys.executable, "-c", code, url, text]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [process.communicate(timeout=50)[0] for process in processes]
    built(dockerfile=text)

    assert [process.returncode for process in processes] == [0, 0]
    assert sum(words.step in each for each in found) == 1, found


def test_wrong_snapshot(make: Callable[..., Sandbox], words: BuildWords) -> None:
    """A name that no image can have is refused."""
    with make() as box:
        with pytest.raises(ConfigError, match="an image's name is as name:tag"):
            box.snapshot("NOT A NAME")
        with pytest.raises(ConfigError, match="no digest"):
            box.snapshot("name@sha256:" + "0" * 64)
