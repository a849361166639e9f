"""Builds: the steps of a Dockerfile in a sandbox, and what is refused before the first of them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from builds import own_cache
from samebox import BuildError, Capability, ConfigError, UnsupportedError
from samebox.config.build import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox
    from samebox_bubblewrap.engine import BubblewrapEngine

__all__ = ["own_cache"]

pytestmark = pytest.mark.usefixtures("no_images")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Return a directory with files to copy."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "program").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "src" / "program").chmod(0o755)
    (tmp_path / "src" / "left-out.pyc").touch()
    (tmp_path / "src" / "link").symlink_to("program")
    (tmp_path / "one.txt").write_text("1")
    (tmp_path / "two.txt").write_text("2")
    (tmp_path / ".dockerignore").write_text("**/*.pyc\n")
    return tmp_path


def dockerfile(context: Path, text: str) -> Path:
    """Write a Dockerfile into a context."""
    (context / "Dockerfile").write_text(text)
    return context


def test_every_instruction(make_box: Callable[..., Sandbox], context: Path) -> None:
    """What the README lists does what it does with Docker."""
    text = """
        ARG BASE=nothing
        FROM $BASE AS only
        ARG VERSION=1
        ENV NAME="a b" PATH=/opt/bin:$PATH
        ENV OLD form of it
        RUN mkdir /opt /opt/bin && echo "$VERSION $NAME $OLD $(id -u)" > /opt/said
        WORKDIR /app
        WORKDIR sub
        RUN ["sh", "-c", "pwd >> /opt/said"]
        COPY src .
        COPY src/program one.txt /opt/bin/
        ADD *.txt /texts/
        COPY one.txt /opt/renamed
        COPY src/program /texts
        RUN program >> /opt/said
        USER sandbox
        RUN id -un > mine
    """
    build = {"context": dockerfile(context, text), "args": {"BASE": "host", "VERSION": "2"}}
    box = make_box(build=build)
    assert box.read_text("/opt/said") == "2 a b form of it 0\n/app/sub\nran\n"
    assert sorted(info.name for info in box.list_dir("/app/sub")) == ["link", "mine", "program"]
    assert sorted(info.name for info in box.list_dir("/texts")) == ["one.txt", "program", "two.txt"]
    assert (box.read_text("/app/sub/mine"), box.read_text("/opt/renamed")) == ("sandbox\n", "1")
    assert box.stat("/opt/bin/program").mode & 0o777 == 0o755
    assert box.sh("program; echo $NAME; echo ${VERSION:-none}; id -un").text.split("\n")[:4] == [
        "ran",
        "a b",
        "none",
        "sandbox",
    ]


def test_all_of_a_context(make_box: Callable[..., Sandbox], context: Path) -> None:
    """`COPY . /x` copies what .dockerignore leaves of the context."""
    box = make_box(build=dockerfile(context, "FROM host\nCOPY . /all\n"))
    names = {info.name for info in box.walk("/all")}
    assert {"one.txt", "src", "src/program", "src/link"} <= names
    assert "src/left-out.pyc" not in names


def test_built_once(make_box: Callable[..., Sandbox], context: Path, engine: BubblewrapEngine) -> None:
    """The same content is built once, other content anew; another name is one more for the same image."""
    lines: list[str] = []
    text = "FROM host\nCOPY one.txt /one\nRUN date +%N > /when\n"

    def when(**build: Any) -> str:
        box = make_box(build={"context": dockerfile(context, text), **build}, progress=lines.append)
        return str(box.read_text("/when"))

    first = when()
    assert [line for line in lines if line.startswith("Step 1/2 : COPY one.txt")] != []
    lines.clear()
    assert when() == first
    assert lines == []
    assert when(tag="team/mine:1") == first
    assert make_box(image="team/mine:1").read_text("/when") == first
    assert "team/mine:1" in [name for image in engine.images() for name in image.names]
    (context / "one.txt").write_text("changed")
    assert when() != first
    assert len(engine.images()) == 2, "a part of a build was kept"


def test_another_base_is_another_image(make_box: Callable[..., Sandbox], tmp_path: Path) -> None:
    """A directory that has changed is another base, and so is a snapshot that has been made anew."""
    root = tmp_path / "root"
    root.mkdir()
    files = tmp_path / "files"
    files.mkdir()
    (files / "file").touch()
    for base in (f"dir:{root}", "snap"):
        build = {"context": dockerfile(files, f"FROM {base}\nCOPY file /copied\n")}
        for text in ("one", "two"):
            (root / "mark").write_text(text)
            make_box(image=f"dir:{root}").snapshot("snap")
            box = make_box(build=build)
            assert (box.read_text("/mark"), box.exists("/copied")) == (text, True)


def test_two_processes_build_once(cache: Path, context: Path) -> None:
    """Of two processes that want the same at once, one builds it."""
    code = (
        "import sys; from samebox import Sandbox\n"
        "with Sandbox(engine='bubblewrap', build=sys.argv[1], options={'cache_dir': sys.argv[2]}) as box:\n"
        "    print(box.read_text('/when'))"
    )
    dockerfile(context, "FROM host\nRUN sleep 0.5; date +%N > /when\n")
    argv = [sys.executable, "-c", code, str(context), str(cache)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=30) for process in both]
    assert said[0][0] == said[1][0] != "", said


def test_runtime(make_box: Callable[..., Sandbox]) -> None:
    """A Runtime's commands run literally, and its environment is the image's."""
    runtime = Runtime(
        name="mine",
        base_image="host",
        setup_commands=(("sh", "-c", 'printf "%s\\n" "$0" "$WORD" > /said', "a $(b) `c`"),),
        env={"WORD": "x $y"},
        image="mine",
    )
    box = make_box(build={"runtime": runtime})
    assert box.read_text("/said") == "a $(b) `c`\nx $y\n"
    assert box.sh('echo "$WORD"').text == "x $y\n"
    assert make_box(image="mine").exists("/said")


def test_runtime_without_cache_is_built_again(make_box: Callable[..., Sandbox]) -> None:
    """`cache=False` builds each time."""
    runtime = Runtime(name="mine", base_image="host", setup_commands=(("sh", "-c", "date +%N > /when"),), cache=False)
    one, two = (make_box(build={"runtime": runtime}) for _ in range(2))
    assert one.read_text("/when") != two.read_text("/when")


def test_failing_step(make_box: Callable[..., Sandbox], engine: BubblewrapEngine, cache: Path) -> None:
    """The error has the step, how it ended and what it said last, on either stream; nothing is left."""
    text = "FROM host\nRUN true\nRUN seq 100; echo it went wrong >&2; exit 3\n"
    lines: list[str] = []
    with pytest.raises(BuildError) as caught:
        make_box(build={"dockerfile": text}, progress=lines.append).start()
    said = str(caught.value)
    assert "at 'Step 2/2 : RUN seq 100; echo it went wrong >&2; exit 3': the command exited with 3. " in said
    assert "one uid" in said
    assert "\n  it went wrong" in said
    assert "\n  100" in said
    assert "\n  1\n" not in said
    assert "it went wrong" in lines
    assert engine.images() == []
    assert [path.name for path in (cache / "images-2").iterdir() if path.name.startswith((".", "made"))] == []


def test_output_without_an_end(make_box: Callable[..., Sandbox]) -> None:
    """A step that writes one endless line costs no memory, and is cut in the error."""
    text = "FROM host\nRUN head -c 50000000 /dev/zero | tr '\\\\0' x; exit 1\n"
    with pytest.raises(BuildError) as caught:
        make_box(build={"dockerfile": text}).start()
    assert len(str(caught.value)) < 100_000 + 2000


def test_here_documents_and_modes(make_box: Callable[..., Sandbox], context: Path) -> None:
    """Programs are gone after their step, and modes are those of all files that are copied, but not of links."""
    text = """
        FROM host
        RUN <<EOF
#!/bin/sh -e
ls -a /tmp > /seen; ls -l "$0" > /mode
EOF
        COPY --chmod=640 src /copied/
        COPY <<-'A' one.txt <<"B" /texts/
	$HOME \\$x
	A
B
        RUN sh -s <<ONE >> /said && cat <<TWO >> /said
echo said by sh
ONE
said by cat
TWO
    """
    box = make_box(build=dockerfile(context, text))
    assert ".samebox-run-" in box.read_text("/seen")
    assert box.read_text("/mode").startswith("-rwx------")
    assert not [info.name for info in box.list_dir("/tmp") if info.name.startswith(".samebox-run")]
    found = {info.name: oct(info.mode & 0o777) for info in box.list_dir("/copied") if info.type == "file"}
    assert found == {"program": "0o640"}
    assert box.stat("/copied/link", follow=False).target == "program"
    assert {info.name: box.read_bytes(f"/texts/{info.name}") for info in box.list_dir("/texts")} == {
        "A": b"$HOME \\$x\n",
        "B": b"",
        "one.txt": b"1",
    }
    assert box.read_text("/said") == "said by sh\nsaid by cat\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM host\nRUN true\nCMD true", "CMD in line 3"),
        ("FROM host\nENTRYPOINT x", "ENTRYPOINT in line 2"),
        ("FROM host\nVOLUME /x", "VOLUME in line 2"),
        ("FROM host\nONBUILD RUN x", "ONBUILD in line 2"),
        ("FROM host AS one\nRUN true\nFROM host", "FROM in line 3 of the Dockerfile: .* one stage"),
        ("FROM --platform=linux/arm64 host", "FROM in line 1.*--platform"),
        (
            "FROM host\nRUN --mount=type=cache,target=/x true",
            "RUN in line 2 of the Dockerfile: bubblewrap does not build RUN --mount; engines docker and podman have",
        ),
        ("FROM host\nCOPY --link one.txt /", "COPY in line 2.*does not build COPY --link; engine docker has it from"),
        ("FROM host\nCOPY --chown=a one.txt /", "COPY in line 2.*--chown=a"),
        ("FROM host\nCOPY --from=other /a /b", "COPY in line 2.*--from=other"),
        ("FROM host\nADD https://example.com/x /x", "ADD in line 2.*fetches nothing"),
        ("FROM host\nADD a.tar.gz /x", "ADD in line 2.*unpacks no archive, as a.tar.gz"),
    ],
)
def test_refused_before_anything_runs(make_box: Callable[..., Sandbox], context: Path, text: str, said: str) -> None:
    """What only Docker and Podman can do is refused with the instruction and its line."""
    (context / "a.tar.gz").touch()
    lines: list[str] = []
    with pytest.raises(UnsupportedError, match=said) as caught:
        make_box(build=dockerfile(context, text), progress=lines.append).start()
    assert caught.value.capability is Capability.BUILD
    assert lines == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RUN true", "line 1: RUN before FROM"),
        ("# nothing", "no FROM|empty"),
        ("FROM host\nNONSENSE x", "NONSENSE"),
        ("FROM host\nCOPY none.txt /x", "line 2: COPY: the context has no 'none.txt'"),
        ("FROM host\nCOPY src/left-out.pyc /x", "dockerignore leaves it out"),
        ("FROM host\nCOPY ../../etc/passwd /x", "the context has no '../../etc/passwd'"),
        ("FROM host\nCOPY *.txt /x", "several files need a destination that ends in '/'"),
        ("FROM host\nCOPY --chmod=u+x one.txt /x", "line 2: COPY: --chmod takes octal digits, as 755, not 'u\\+x'"),
        ("FROM host\nCOPY <<A <<B /x\nA\nB", "several files need a destination that ends in '/'"),
        ("FROM host\nCOPY one.txt", "a source and a destination|requires at least two|at least"),
    ],
)
def test_wrong_dockerfile(make_box: Callable[..., Sandbox], context: Path, text: str, said: str) -> None:
    """A mistake is one error with its line, before anything runs."""
    lines: list[str] = []
    with pytest.raises((ConfigError, UnsupportedError), match=said):
        make_box(build=dockerfile(context, text), progress=lines.append).start()
    assert lines == []


def test_stage_that_is_not_there(make_box: Callable[..., Sandbox]) -> None:
    """`target` names the only stage, or is an error."""
    text = "FROM host AS one\nRUN echo x > /x\n"
    assert make_box(build={"dockerfile": text, "target": "one"}).exists("/x")
    with pytest.raises(ConfigError, match="target='two' is no stage"):
        make_box(build={"dockerfile": text, "target": "two"}).start()


def test_what_needs_another_engine(make_box: Callable[..., Sandbox]) -> None:
    """A container image for a base, and apt, are refused with the way to have them."""
    with pytest.raises(UnsupportedError, match=r"python:3\.13-slim.*'host', 'dir:/path'.*docker and podman"):
        make_box(build="python-minimal").start()
    runtime = Runtime(name="mine", base_image="host", package_manager="apt", packages=("jq",))
    with pytest.raises(UnsupportedError, match=r"runtime 'mine': apt .*one uid.*tar: image"):
        make_box(build={"runtime": runtime}).start()


def test_context_without_a_way_out(make_box: Callable[..., Sandbox], context: Path, tmp_path_factory: Any) -> None:
    """A link below what is copied is copied as a link; one that is named is followed inside the context alone."""
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_text("of the host")
    (context / "src" / "out").symlink_to(secret)
    (context / "in").symlink_to("/one.txt")
    box = make_box(build=dockerfile(context, "FROM host\nCOPY src in /x/\n"))
    assert box.stat("/x/out", follow=False).type == "symlink"
    assert not box.exists("/x/out")
    assert box.read_text("/x/in") == "1"
    with pytest.raises(BuildError, match="'src/out' is a link to what the context has not got"):
        make_box(build=dockerfile(context, "FROM host\nCOPY src/out /x/\n")).start()
