"""Builds, as far as no engine is needed: what is sent, what it begins with, and when it is built anew."""

from __future__ import annotations

import os
import re
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest
from e2b_dockerfile_utils import ShellLex, parse_dockerfile_ast

from samebox import ConfigError, SandboxConfig
from samebox.config.build import ImageBuild, Runtime
from samebox.errors import BuildError
from samebox.images.builder import BuildLog, ImageBuilder
from samebox.images.context import BuildContext
from samebox.images.dockerfile import base_images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM a", ["a"]),
        ("# syntax=x\nFROM --platform=$BUILDPLATFORM a:1 AS one\nfrom b as two\nFROM one\nFROM TWO", ["a:1", "b"]),
        ("FROM scratch\nCOPY --from=tool:2 /x /x\nCOPY --chown=1 --from=0 /y /y", ["tool:2"]),
        ("FROM a AS s\nRUN --mount=type=bind,from=c,target=/c true\nCOPY --from=s / /", ["a", "c"]),
        ("ARG V=1\nARG A=a\nARG F=$A:${V}\nFROM ${F}\nARG V=2\nFROM b:$V\nFROM c:${N:-3}", ["a:9", "b:9", "c:3"]),
        ("FROM a\nRUN <<END\nFROM b\nEND", ["a"]),
        ("", []),
    ],
)  # fmt: skip
def test_base_images(text: str, images: list[str]) -> None:
    """Stages are none, arguments are filled in, and a shell's text is not read as instructions."""
    assert list(base_images(text, {"V": "9"})) == images


def sent(context: Path, **settings: str) -> tuple[list[str], bytes]:
    """Return the names that are sent, and the digest."""
    with (
        BuildContext(ImageBuild.model_validate({"context": context, **settings})) as found,
        tarfile.open(fileobj=found.file) as archive,
    ):
        assert set(found.unwanted) <= {".dockerignore", found.dockerfile}
        return sorted(set(archive.getnames()) - {".", *found.unwanted}), found.digest


def test_dockerignore(tmp_path: Path) -> None:
    """Docker's rules: the last match decides, `!` takes back, `**` is any depth; the Dockerfile is always sent."""
    for name in ("a.key", "d/b.key", "d/keep.key", "node/deep/x", "node/keep/y", "docker/Dockerfile", "z[1]"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / ".dockerignore").write_text(
        "# all\n**/*.key\n!d/keep.key\n/node\n!node/keep\n  docker/ \n.dockerignore\n"
    )
    names, first = sent(tmp_path, dockerfile="docker/Dockerfile")

    assert names == ["d", "d/keep.key", "link", "node/keep", "node/keep/y", "z[1]"]
    with BuildContext(ImageBuild(context=tmp_path, dockerfile="docker/Dockerfile")) as found:
        assert found.unwanted == [".dockerignore", "docker/Dockerfile"]
        with tarfile.open(fileobj=found.file) as archive:
            assert set(found.unwanted) <= set(archive.getnames())
    (tmp_path / "a.key").write_text("changed")
    os.utime(tmp_path / "d" / "keep.key", (1, 1))
    assert sent(tmp_path, dockerfile="docker/Dockerfile")[1] == first
    (tmp_path / "d" / "keep.key").chmod(0o600)
    assert sent(tmp_path, dockerfile="docker/Dockerfile")[1] != first


def test_wrong_contexts(tmp_path: Path) -> None:
    """Each mistake names the field, and what is accepted."""
    (tmp_path / "Dockerfile").write_text("FROM a\n")
    (tmp_path / ".dockerignore").write_text("[\n")
    with pytest.raises(ConfigError, match=r"^wrong config: build: \.dockerignore in '.*': .*syntax error in pattern"):
        sent(tmp_path)
    (tmp_path.parent / "Outside").write_text("FROM a\n")
    for path in ("../Outside", str(tmp_path / "Dockerfile"), "./Dockerfile"):
        with pytest.raises(ValueError, match="a Dockerfile is below the context, as 'docker/Dockerfile', not '"):
            SandboxConfig.model_validate({"build": {"context": tmp_path, "dockerfile": path}})


class Builder(ImageBuilder):
    """Builds nothing, and remembers what it was asked for."""

    step = re.compile("Step ")
    chatter = ("~",)

    def __init__(self) -> None:
        super().__init__("Fake at here")
        self.images: dict[str, str] = {}
        self.bases = {"a": "id of a"}
        self.says = "Step 1: FROM a\n"
        self.runs = 0
        self.fails = ""
        self.gate: threading.Event | None = None

    def check(self, build: ImageBuild) -> None:
        """Take anything."""

    def find(self, name: str) -> str | None:
        """Look it up."""
        return self.images.get(name)

    def base(self, image: str, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Take it for granted."""
        return self.bases[image]

    def run(self, config: SandboxConfig, name: str, context: BuildContext, log: BuildLog, *, fresh: bool) -> None:
        """Say something, in pieces."""
        self.runs += 1
        for piece in self.says.partition(" "):
            log.add(piece)
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.fails:
            raise log.failed(self.engine, self.fails)
        self.images[name] = f"image {self.runs}"

    def tag(self, image: str, name: str) -> None:
        """Note it."""
        self.images[name] = image


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Return a builder whose locks are the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Builder()


def config(**settings: object) -> SandboxConfig:
    """Return a config with a build."""
    return SandboxConfig.model_validate({"build": {"dockerfile": "FROM a\n", **settings}})


def test_built_once_for_each_content_and_base(builder: Builder, tmp_path: Path) -> None:
    """Another base of the same name is another image; a name asked for is given each time; no lock is left."""
    lines: list[str] = []
    assert builder.build(config(), lines.append) == builder.build(config(tag="x:1"), lines.append) == "image 1"
    assert builder.images["x:1"] == "image 1"
    assert lines == ["Step 1: FROM a"]
    builder.bases["a"] = "id of a newer a"
    assert builder.build(config(), lines.append) == "image 2"
    assert builder.build(config(args={"A": "1"}), lines.append) == "image 3"
    assert list((tmp_path / "cache" / "samebox" / "builds").iterdir()) == []


def test_a_failure_has_the_step_and_its_last_lines(builder: Builder) -> None:
    """Whole lines, however they came; those of the steps before are left out, and so is the engine's own talk."""
    builder.says = "Step 1: FROM a\nof the first\nStep 2: RUN x\n" + "".join(f"{n}\n" for n in range(30)) + "~ x\nlast"
    builder.fails = "exit code 1\n"
    with pytest.raises(BuildError) as caught:
        builder.build(config(), print)
    last = "".join(f"\n  {n}" for n in range(11, 30))
    assert str(caught.value) == f"Fake at here could not build the image at 'Step 2: RUN x': exit code 1{last}\n  last"


def test_one_of_two_waits(builder: Builder) -> None:
    """Two that build the same at once build it once."""
    builder.gate = threading.Event()
    found: list[str] = []
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        if "another process" in line and builder.gate is not None:
            builder.gate.set()

    threads = [threading.Thread(target=lambda: found.append(builder.build(config(), progress))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == ["image 1", "image 1"]
    assert "another process makes the same image; waiting for it" in lines


def test_a_runtime_is_quoted() -> None:
    """What a Dockerfile's parser makes of the text is what was asked for."""
    odd = "a \"b\" $c \\u00e9 é\t'd'"
    runtime = Runtime(name="x", base_image="a", env={"ODD": odd}, workdir="/w $x → y", setup_commands=(("echo", odd),))
    parsed = parse_dockerfile_ast(runtime.dockerfile)
    found = {instruction.name: instruction.args for instruction in parsed.instructions}
    lex = ShellLex(parsed.escape_token)
    assert lex.process_word(found["ENV"][1]) == odd
    assert found["RUN"] == ["echo", odd]
    assert lex.process_word(found["WORKDIR"][0]) == "/w $x → y"


def test_ignore_files(tmp_path: Path) -> None:
    """The Dockerfile's own, then .dockerignore, then .containerignore; Containerfile where there is no Dockerfile."""
    for name in ("Containerfile", "a", "b", "c"):
        (tmp_path / name).write_text("FROM x\n")
    (tmp_path / ".containerignore").write_text("a\n")
    assert sent(tmp_path)[0] == [".containerignore", "Containerfile", "b", "c"]
    (tmp_path / ".dockerignore").write_text("b\n")
    assert sent(tmp_path)[0] == [".containerignore", ".dockerignore", "Containerfile", "a", "c"]
    (tmp_path / "Containerfile.dockerignore").write_text("c\n*ignore\n")
    assert sent(tmp_path)[0] == ["Containerfile", "a", "b"]
    (tmp_path / "Dockerfile").write_text("FROM y\n")
    assert ImageBuild(context=tmp_path).text == "FROM y\n"
    assert ImageBuild(context=tmp_path, dockerfile="Containerfile").text == "FROM x\n"


def test_links_out_of_a_context(tmp_path: Path) -> None:
    """A link that leads out is named, unless it is left out; what leads to nothing that is sent is known."""
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    (tmp_path / "sub").mkdir()
    for name, target, unresolved in (("in", "../Dockerfile", False), ("off", "/etc", True), ("no", "x", True)):
        (tmp_path / "sub" / name).symlink_to(target)
        with BuildContext(ImageBuild(context=tmp_path)) as context:
            assert context.unresolved is unresolved
        (tmp_path / "sub" / name).unlink()
    (tmp_path / "sub/out").symlink_to("../../x")
    text = r"^wrong config: build: the link 'sub/out' leads out of the context, to '\.\./\.\./x'; let it lead to a file"
    with pytest.raises(ConfigError, match=text):
        BuildContext(ImageBuild(context=tmp_path))
    (tmp_path / ".dockerignore").write_text("sub/out")
    with BuildContext(ImageBuild(context=tmp_path)) as context:
        assert not context.unresolved


def test_a_dockerfile_that_is_not_utf8(tmp_path: Path) -> None:
    """The error names the file, the byte and the remedy."""
    (tmp_path / "Dockerfile").write_bytes(b"FROM a\n# \xe4\n")
    with pytest.raises(ConfigError, match=r"Dockerfile in '.*' is not UTF-8 \(byte 9 is 0xe4\); save it as UTF-8$"):
        _ = ImageBuild(context=tmp_path).text


@pytest.mark.parametrize("tag", ["UPPER", "a b", "a:", "", "a@sha256:0", "-a", "a/B:1"])
def test_wrong_tags_are_refused(tag: str) -> None:
    """Before anything is built."""
    with pytest.raises(ConfigError, match="an image"):
        SandboxConfig(build={"dockerfile": "FROM a\n", "tag": tag})


@pytest.mark.parametrize("tag", ["a", "a:1", "localhost/a__b-c.d:X_1", "host.example:5000/a/b", "h:5000/a:1", "a/b"])
def test_tags_that_engines_take(tag: str) -> None:
    """With a registry, a port, and the separators that names may have."""
    assert ImageBuild(dockerfile="FROM a\n", tag=tag).tag == tag


def test_a_log_has_no_control_sequences() -> None:
    """Colours, titles and cursor movements stay out of the log and the error."""
    lines: list[str] = []
    log = BuildLog(lines.append, re.compile("Step "), ())
    log.add("Step 1\n\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b[2K\x08\n")
    assert lines == ["Step 1", "red x"]
    assert str(log.failed("E", "\x1b[31mno\x1b[0m")) == "E could not build the image at 'Step 1': no\n  red x"
