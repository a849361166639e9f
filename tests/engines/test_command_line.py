"""The command line on every engine: output as it comes, stdin, exit codes, transfers, a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from targets import Target

SAMEBOX = [sys.executable, "-c", "from samebox.cli import main; main()"]


def command(target: Target, *words: str, image: str = "busybox") -> list[str]:
    """Return the words of `samebox run` on an engine."""
    settings = target.settings(image)
    options = [word for name, value in settings["options"].items() for word in ("--option", f"{name}={value}")]
    return [*SAMEBOX, "run", "--engine", settings["engine"], "--image", settings["image"], *options, *words]


def run(arguments: Sequence[str], **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    return subprocess.run(arguments, capture_output=True, timeout=50, check=False, **more)  # type: ignore[call-overload, no-any-return]


def test_output_exit_code_and_the_engines_name(target: Target) -> None:
    """Stdout and stderr stay apart, the exit code is the command's, and stderr says which engine ran it."""
    done = run(command(target, "--", "sh", "-c", "echo out; echo err >&2; exit 7"))

    assert (done.returncode, done.stdout) == (7, b"out\n"), done
    assert done.stderr.startswith(f"samebox: {target.engine} ".encode()), done.stderr
    assert done.stderr.endswith(b"err\n"), done.stderr


def test_stdin_is_passed_on(target: Target) -> None:
    """A pipe through the sandbox is a pipe."""
    data = os.urandom(300_000)
    done = run(command(target, "-q", "--", "cat"), input=data)

    assert (done.returncode, done.stdout == data) == (0, True), done.stderr


def test_output_comes_as_it_is_written(target: Target) -> None:
    """The first line is there while the command still runs."""
    with subprocess.Popen(
        command(target, "-q", "--", "sh", "-c", "echo first; read line; echo got $line"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"first\n"
        process.stdin.write(b"second\n")
        process.stdin.close()
        assert process.stdout.read() == b"got second\n"


def test_environment_upload_and_download(target: Target, tmp_path: Path) -> None:
    """What goes in is there, and what was made comes out, also after a failure."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project/in").write_text("content")
    done = run(
        command(target, "-q", "-e", "WORD=yes", "-e", "HERE", "--upload", "project", "--download", "out:result", "--",
                "sh", "-c", 'cat in; mkdir out; echo "$WORD $HERE" > out/file; exit 3'),
        cwd=tmp_path, env={**os.environ, "HERE": "too"},
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (3, b"content", b"")
    assert (tmp_path / "result/file").read_text() == "yes too\n"


def test_timeout_is_124(target: Target) -> None:
    """As coreutils' timeout has it, with the reason on stderr."""
    done = run(command(target, "--timeout", "0.5", "--", "sh", "-c", "echo begun; sleep 100"))

    assert (done.returncode, done.stdout) == (124, b"begun\n"), done
    assert b"ran into its timeout of 0.5 s" in done.stderr


def test_terminal(target: Target) -> None:
    """With --tty the command sees a terminal of this one's size."""
    main_end, other = pty.openpty()
    process = subprocess.Popen(
        command(target, "-q", "--tty", "--", "sh", "-c", "test -t 0 && stty size"), stdin=other, stdout=other
    )
    os.close(other)
    seen = b""
    while True:
        try:
            data = os.read(main_end, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(main_end)

    assert (process.wait(), seen) == (0, b"24 80\r\n")


def test_an_interrupt_reaches_the_command_and_leaves_nothing(target: Target) -> None:
    """Ctrl-C goes to the command; the sandbox is removed all the same."""
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen(
        command(target, "-q", "--", "sh", "-c", script),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"caught\n"
        assert process.wait() == 9


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--memory", "lots", "--", "true"], b"wrong config: memory = 'lots'"),
        (["--upload", "nowhere", "--", "true"], b"--upload nowhere: there is no 'nowhere' here"),
        (["-e", "SURELY_NOT_SET", "--", "true"], b"--env SURELY_NOT_SET: there is no such variable here"),
        (["--option", "nonsense", "--", "true"], b"--option takes NAME=VALUE, not 'nonsense'"),
        (["--engine", "dokcer", "--", "true"], b"there is no engine 'dokcer'"),
    ],
)
def test_mistakes_are_125_and_one_line(words: list[str], text: bytes) -> None:
    """Samebox's own failures are told apart from the command's, and have no traceback."""
    done = run([*SAMEBOX, "run", *words])

    assert done.returncode == 125, done
    assert text in done.stderr
    assert b"Traceback" not in done.stderr


def test_engines_as_json() -> None:
    """Every installed engine is told of, and which would be taken."""
    done = run([*SAMEBOX, "engines", "--json"])
    found = json.loads(done.stdout)

    assert {"bubblewrap", "docker", "podman", "local"} <= {row["name"] for row in found["engines"]}
    assert found["taken"] == "bubblewrap", found


def test_ps_and_prune_take_away_what_a_killed_owner_left(target: Target) -> None:
    """SIGKILL of the host process is the field's most repeated leak."""
    process = subprocess.Popen(
        command(target, "-q", "--", "sh", "-c", "echo ready; sleep 1000"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    process.stdout.close()
    variable = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}.get(target.engine, "UNUSED")
    environment = {**os.environ, variable: target.options.get("url", "")}
    listed = json.loads(run([*SAMEBOX, "ps", "--engine", target.engine, "--json"], env=environment).stdout)
    dead = [entry["name"] for entry in listed["sandboxes"] if entry["owner_alive"] is False]
    # A bubblewrap sandbox has ended with its owner; the others are there until they are pruned.
    assert bool(dead) is (target.engine != "bubblewrap"), listed
    removed = run([*SAMEBOX, "prune", "--engine", target.engine], env=environment).stdout.decode()
    assert all(name in removed for name in dead), removed
    time.sleep(0.1)
    again = json.loads(run([*SAMEBOX, "ps", "--engine", target.engine, "--json"], env=environment).stdout)
    assert not {entry["name"] for entry in again["sandboxes"]} & set(dead)
