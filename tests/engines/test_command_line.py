"""The command line on every engine: output as it comes, stdin, exit codes, transfers, a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox import Capability, Sandbox
from samebox.engine.registry import registry
from targets import TARGETS, Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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


def test_control_c_of_a_terminal_reaches_the_command(target: Target) -> None:
    """A terminal sends SIGINT to the whole process group: nothing but the command sees the signal in the sandbox."""
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen(
        command(target, "-q", "--", "sh", "-c", script),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()
        assert (process.returncode, *said) == (9, b"caught\n", b"")


def test_a_reader_that_leaves_ends_the_command(target: Target) -> None:
    """As with `| head -1`: the command ends, and so does `samebox run`, as a shell tells it."""
    with subprocess.Popen(
        command(target, "-q", "--", "sh", "-c", "while :; do echo yes; done"), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"yes\n"
        process.stdout.close()
        assert process.wait(40) == 141


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_an_upload_leaves_nothing(target: Target, number: int, tmp_path: Path) -> None:
    """The handlers that pass signals on to the command are not there yet."""
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 8 << 30)
    name = f"upload-{secrets.token_hex(4)}"
    words = ["--upload", str(tmp_path / "large"), "--", "true"]
    with Sandbox(**target.settings("busybox")) as other:
        engine = other.start().engine
        assert engine is not None
        with subprocess.Popen(
            command(target, "-e", f"NAME={name}", *words), stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(b"samebox: ")
            time.sleep(0.3)
            process.send_signal(number)
            said = process.stderr.read()
            assert process.wait(40) == 128 + number, said
        owners = [status.labels.get("samebox.owner", "") for status in engine.list()]
    assert not [owner for owner in owners if f"/{process.pid}." in owner], owners


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--memory", "lots", "--", "true"], b"wrong config: memory = 'lots'"),
        (["--upload", "nowhere", "--", "true"], b"--upload nowhere: there is no 'nowhere' here"),
        (["-e", "SURELY_NOT_SET", "--", "true"], b"--env SURELY_NOT_SET: there is no such variable here"),
        (["--option", "nonsense", "--", "true"], b"--option takes NAME=VALUE; it got a text without '='"),
        (["--engine", "dokcer", "--", "true"], b"there is no engine 'dokcer'"),
    ],
)
def test_mistakes_are_125_and_one_line(words: list[str], text: bytes) -> None:
    """Samebox's own failures are told apart from the command's, and have no traceback."""
    done = run([*SAMEBOX, "run", *words])

    assert done.returncode == 125, done
    assert text in done.stderr
    assert b"Traceback" not in done.stderr


def test_settings_of_files_hold_and_are_told(target: Target, tmp_path: Path) -> None:
    """As `samebox config show` shows them, with flags before variables before files."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.samebox]\nworkdir = "/one"\nuser = "1234"\n[tool.samebox.env]\nA = "b"\n'
    )
    (tmp_path / "samebox.toml").write_text('workdir = "/two"\n')
    script = "echo $(pwd) $(id -u) $A"
    environment = {**os.environ, "SAMEBOX_USER": "4321"}
    done = run(command(target, "--", "sh", "-c", script), cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (0, b"/two 4321 b\n"), done
    assert f"samebox: from {tmp_path}/samebox.toml: workdir\n".encode() in done.stderr

    done = run(command(target, "-q", "-u", "55", "--", "sh", "-c", script), cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"/two 55 b\n", b""), done


@pytest.mark.parametrize(
    "target", [target for target in TARGETS if target.name == "docker"], indirect=True, ids=["docker"]
)
def test_auto_passes_over_an_engine_that_cannot_make_such_a_mount(target: Target, tmp_path: Path) -> None:
    """Relabelling for SELinux is nothing that bwrap does; another engine that is there is taken, and said why."""
    (tmp_path / "samebox.toml").write_text(f'mounts = ["{tmp_path}:/data:ro,z"]\n')
    image = f"tar:{os.environ['SAMEBOX_TEST_IMAGE_DIR']}/busybox.docker.tar"
    done = run(
        [*SAMEBOX, "run", "--trust", "--image", image, "--", "ls", "/data"],
        cwd=tmp_path, env={**reached(target), "SAMEBOX_DISABLED_ENGINES": "podman"},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, b"samebox.toml\n"), done
    assert b"leave z and Z out; taking docker (container) instead\n" in done.stderr, done


def test_a_projects_file_opens_nothing_unless_it_is_trusted(target: Target, tmp_path: Path) -> None:
    """Somebody else's checkout would decide what of this host its own code reaches."""
    (tmp_path / "samebox.toml").write_text("no_new_privileges = false\n")
    words = ["--", "grep", "NoNewPrivs", "/proc/self/status"]
    refused = run(command(target, "-q", *words), cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (125, b""), refused
    assert (
        f"{tmp_path}/samebox.toml sets no_new_privileges, by which the sandbox reaches more".encode() in refused.stderr
    )
    trusted = run(command(target, "-q", "--trust", *words), cwd=tmp_path)
    if target.engine == "bubblewrap":  # bwrap itself always sets it
        assert b"no_new_privileges" in trusted.stderr, trusted
    else:
        assert (trusted.returncode, trusted.stdout) == (0, b"NoNewPrivs:\t0\n"), trusted


def test_untrusted_is_strict_and_says_what_it_chose(target: Target, tmp_path: Path) -> None:
    """One option; the project's file has no say in it, and that is told."""
    (tmp_path / "samebox.toml").write_text('isolation = "process"\nread_only = false\ncpus = 1.0\n')
    script = (
        "grep -q '^[^ ]* / [^ ]* rw' /proc/mounts || echo refused; touch /tmp/x /scratch/x x && echo all; rm -f /tmp/x"
    )
    words = ["--untrusted", "--tmpfs", "/scratch:size=1m", "--", "sh", "-c", script]
    done = run(command(target, *words), cwd=tmp_path)
    told = f"samebox: not taken from {tmp_path}/samebox.toml with --untrusted: isolation, read_only, cpus; give options"

    assert done.stderr.startswith(told.encode()), done.stderr
    if target.engine == "local":
        assert done.returncode == 125
        assert b"at the tier none, the config asks for process at least" in done.stderr, done.stderr
        return
    assert (done.returncode, done.stdout) == (0, b"refused\nall\n"), done
    (line,) = [line for line in done.stderr.decode().splitlines() if line.startswith(f"samebox: {target.engine} ")]
    assert re.search(r" \([a-z-]+.*\): no network, read-only root, .*disk 1g, at most 3600 s", line), line
    unenforced = re.findall("^samebox: not enforced here: ([a-z-]+):", done.stderr.decode(), re.MULTILINE)
    assert all(name in line.partition("not enforced here: ")[2] for name in unenforced), done.stderr


def test_engines_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every installed engine is told of, with the tiers that it has by options, and which would be taken."""
    if url := os.environ.get("SAMEBOX_TEST_DOCKER_URL"):
        monkeypatch.setenv("DOCKER_HOST", url)
    done = run([*SAMEBOX, "engines", "--json"])
    found = json.loads(done.stdout)
    stronger = {row["name"]: row["stronger"] for row in found["engines"]}

    assert stronger["bubblewrap"] == {}
    # The testbed's daemon has gVisor.
    assert not url or stronger["docker"].get("runtime=runsc") == "user-kernel", stronger

    assert {"bubblewrap", "docker", "podman", "local"} <= {row["name"] for row in found["engines"]}
    assert found["taken"] == "bubblewrap", found


def reached(target: Target) -> dict[str, str]:
    """Return an environment in which an engine's address is known without an option."""
    variable = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}.get(target.engine, "UNUSED")
    return {**os.environ, variable: target.options.get("url", "")}


def manage(target: Target, *words: str, code: int = 0) -> Any:
    """Run a command on one engine and return the JSON that it prints."""
    options = [
        word for key, value in target.options.items() for word in ("--engine-option", f"{target.engine}.{key}={value}")
    ]
    done = run([*SAMEBOX, words[0], "--engine", target.engine, *options, "--json", *words[1:]])
    assert done.returncode == code, done
    return json.loads(done.stdout)


def test_ps_and_prune_take_away_what_a_killed_owner_left(target: Target) -> None:
    """SIGKILL of the host process is the field's most repeated leak."""
    process = subprocess.Popen(
        command(target, "-q", "--", "sh", "-c", "echo ready; sleep 1000"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    mine = [entry["name"] for entry in manage(target, "ps")["sandboxes"] if f"/{process.pid}." in entry["owner"]]
    process.kill()
    process.wait()
    process.stdout.close()
    dead = {entry["name"] for entry in manage(target, "ps")["sandboxes"] if entry["owner_alive"] is False}
    # A bubblewrap sandbox is its owner's alone and has ended with it; the others are there until they are pruned.
    assert len(mine) == (0 if target.engine == "bubblewrap" else 1)
    assert dead >= set(mine)
    pruned = manage(target, "prune")
    assert pruned["failed"] == pruned["unreachable"] == {}
    assert {entry["name"] for entry in pruned["removed"]} >= set(mine)
    assert not {entry["name"] for entry in manage(target, "ps")["sandboxes"]} & set(mine)


def test_prune_leaves_what_was_to_be_kept_and_rm_takes_it(target: Target) -> None:
    """By its name, once; the second time there is nothing of that name, and no other sandbox is touched."""
    name = f"samebox-test-{secrets.token_hex(6)}"
    kept = run(command(target, "-q", "--keep", "--name", name, "--", "true"))
    if target.engine == "bubblewrap":  # whose sandboxes end with the process that made them
        assert (kept.returncode, b"persistent" in kept.stderr) == (125, True), kept
    else:
        assert kept.returncode == 0, kept
        (entry,) = [entry for entry in manage(target, "ps")["sandboxes"] if entry["name"] == name]
        assert (entry["kept"], entry["owner_alive"], entry["engine"]) == (True, False, target.engine)
        assert name not in {entry["name"] for entry in manage(target, "prune")["removed"]}
        others = {entry["name"] for entry in manage(target, "ps")["sandboxes"]} - {name}
        assert [entry["id"] for entry in manage(target, "rm", name)["removed"]] == [entry["id"]]
        assert name not in {entry["name"] for entry in manage(target, "ps")["sandboxes"]}, others

    assert (
        f"there is no sandbox {name!r} that samebox made on {target.engine}"
        in (manage(target, "rm", name, code=125)["failed"][name])
    )


def test_volumes_are_listed_and_removed_unless_in_use(target: Target, tmp_path: Path) -> None:
    """A volume outlives the sandbox that it was made for; one that is used stays, with the reason."""
    name = f"samebox-test-{secrets.token_hex(6)}"
    settings = target.settings("busybox")
    if Capability.VOLUMES not in registry().get(target.engine).capabilities:
        done = run([*SAMEBOX, "volumes", "--engine", target.engine], env=reached(target))
        assert (done.returncode, b"does not support volumes" in done.stderr) == (125, True), done
        return
    with Sandbox(**settings, mounts=[f"{name}:/data"]):
        (entry,) = [entry for entry in manage(target, "volumes")["volumes"] if entry["name"] == name]
        assert entry["engine"] == target.engine
        assert time.time() - 100 < entry["created"] <= time.time() + 1
        assert "use" in manage(target, "volumes", "--remove", name, code=125)["failed"][name]
    table = run([*SAMEBOX, "volumes", "--engine", target.engine], env=reached(target))
    assert f"{target.engine}  {name}".encode() in re.sub(rb" +", b"  ", table.stdout), table
    assert [entry["name"] for entry in manage(target, "volumes", "--remove", name)["removed"]] == [name]
    assert name not in {entry["name"] for entry in manage(target, "volumes")["volumes"]}
    assert (
        f"there is no volume {name!r} that samebox made on {target.engine}"
        in (manage(target, "volumes", "--remove", name, code=125)["failed"][name])
    )


def test_images_are_listed_and_removed_unless_in_use(target: Target) -> None:
    """One that a sandbox has stays, with the sandbox's name."""
    name = f"samebox-test-{secrets.token_hex(6)}"
    settings = target.settings("busybox")
    with Sandbox(**settings) as box:
        box.snapshot(name)
    with Sandbox(**{**settings, "image": name}) as box:
        (entry,) = [entry for entry in manage(target, "images")["images"] if name in entry["names"]]
        assert (entry["engine"], entry["kind"]) == (target.engine, "snapshot")
        assert entry["size"] > 0
        assert time.time() - 100 < entry["created"] <= time.time() + 1
        user = box.name if target.engine != "bubblewrap" else f"a sandbox of process {os.getpid()}"
        assert entry["used_by"] == [user]
        said = manage(target, "images", "--remove", name, code=125)["failed"][name]
        assert f"is in use by {user}; remove that first" in said
    table = run([*SAMEBOX, "images", "--engine", target.engine], env=reached(target)).stdout.decode().splitlines()
    (line,) = [line for line in table if name in line]
    assert line.split()[:3] == [target.engine, name, "snapshot"]
    assert [entry["names"] for entry in manage(target, "images", "--remove", name)["removed"]] == [[name]]
    assert name not in [each for entry in manage(target, "images")["images"] for each in entry["names"]]
    assert (
        f"there is no image {name!r} that samebox made on {target.engine}"
        in (manage(target, "images", "--remove", name, code=125)["failed"][name])
    )


def test_prune_by_age(tmp_path: Path) -> None:
    """Images that were neither made nor used for so long go, a younger one stays; an age that is none is refused."""
    options = {"cache_dir": str(tmp_path)}
    target = Target("bubblewrap", "bubblewrap", options)
    with Sandbox(engine="bubblewrap", options=options) as box:
        box.snapshot("old")
        box.snapshot("young")
    (old,) = [entry for entry in manage(target, "images")["images"] if entry["names"] == ["old"]]
    image = tmp_path / "images-2" / old["id"].partition(":")[2]
    for path in (image, image / "image.json"):
        os.utime(path, (0, time.time() - 7201))
    assert manage(target, "prune", "--images-older-than", "3h")["removed"] == []
    assert [entry["names"] for entry in manage(target, "prune", "--images-older-than", "2h")["removed"]] == [["old"]]
    assert [entry["names"] for entry in manage(target, "images")["images"]] == [["young"]]
    for age in ("7", "-1d", "1.5h", "soon"):
        done = run([*SAMEBOX, "prune", "--engine", "bubblewrap", f"--images-older-than={age}"])
        assert (done.returncode, b"an age is a number and one of" in done.stderr) == (2, True), done


@pytest.mark.parametrize("words", [["ps"], ["prune"], ["volumes"], ["images"], ["rm", "x"]])
def test_an_engine_that_was_named_has_to_be_reached(words: list[str]) -> None:
    """Else an empty answer would look as if there were nothing."""
    done = run([*SAMEBOX, *words, "--engine", "docker"], env={**os.environ, "DOCKER_HOST": "unix:///nowhere.sock"})
    assert (done.returncode, done.stdout, b"unix:///nowhere.sock" in done.stderr) == (125, b"", True), done

    done = run([*SAMEBOX, *words, "--json"], env={**os.environ, "DOCKER_HOST": "unix:///nowhere.sock"})
    assert "unix:///nowhere.sock" in json.loads(done.stdout)["unreachable"]["docker"]
