"""Commands: arguments, exit codes, output."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import SandboxError, SandboxOSError, SpawnError
from samebox.guest.results import CommandFailedError

if TYPE_CHECKING:
    from samebox.sandbox.sandbox import Sandbox


def test_argv_is_literal(box: Sandbox) -> None:
    """Each element of argv reaches the program as it is: no shell, no splitting, no expansion.

    Why: podman-py splits a string by shlex, and sandboxes built on `sh -c` expand `$` and globs of untrusted text.
    Check: whether the engine or its guest joins argv into a line for a shell.
    """
    words = ["$HOME", "a  b", "*", "'q'", '"', "\\n", ";echo x", "`id`", "-n", "--", "\n", "\t"]
    result = box.exec(["printf", "[%s]", *words], timeout=DEADLINE)
    assert result.stdout == "".join(f"[{word}]" for word in words).encode(), result


def test_empty_argument_is_kept(box: Sandbox) -> None:
    """An empty argument is an argument.

    Why: joining argv to a command line and splitting it again drops empty words.
    Check: how argv is encoded on its way to the agent.
    """
    result = box.exec(["sh", "-c", 'echo "$#"', "sh", "", "x", ""], timeout=DEADLINE)
    assert result.stdout == b"3\n", result


def test_argv_takes_any_bytes(box: Sandbox) -> None:
    """Arguments hold any byte but NUL, given as bytes or as text with surrogate escapes.

    Why: clients that send argv as JSON can't carry what is not UTF-8, and fail or replace it.
    Check: that argv does not pass through the engine's own exec call.
    """
    word = bytes(range(1, 256))
    as_bytes = box.exec(["printf", "%s", word], timeout=DEADLINE)
    as_text = box.exec(["printf", "%s", word.decode("utf-8", "surrogateescape")], timeout=DEADLINE)
    assert as_bytes.stdout == word, as_bytes
    assert as_text.stdout == word, as_text


def test_argv_may_be_long(box: Sandbox) -> None:
    """A megabyte of arguments is passed, in words of less than the kernel's 128 KiB.

    Why: transports with a message limit cut or refuse long commands (a Kubernetes exec carries argv in a URL).
    Check: the largest frame that the host sends, and how the agent grows its buffer.
    """
    words = [chr(ord("a") + n) * (64 << 10) for n in range(16)]
    result = box.exec(["sh", "-c", 'printf %s "$*" | wc -c', "sh", *words], timeout=DEADLINE)
    assert int(result.stdout) == 16 * (64 << 10) + 15, result


def test_argument_too_long_is_an_error(box: Sandbox) -> None:
    """A command that the kernel refuses for its length raises, and the sandbox goes on.

    Why: an agent that forks first reports E2BIG as a strange exit code of a command that never ran.
    Check: that a failing execve with E2BIG is reported as SpawnError.
    """
    with pytest.raises(SpawnError) as caught:
        box.exec(["echo", "x" * (256 << 10)], timeout=DEADLINE)
    assert caught.value.errno == 7, caught.value
    assert box.exec(["echo", "on"], timeout=DEADLINE).stdout == b"on\n"


@pytest.mark.parametrize("argv", [[], "echo hi", b"echo"], ids=["empty", "text", "bytes"])
def test_argv_must_be_a_list(box: Sandbox, argv: list[str]) -> None:
    """An argv that is empty or a bare text is refused before anything runs.

    Why: a text is a sequence too, and `exec("ls")` would run `l` with the argument `s`.
    Check: the guest's check of argv.
    """
    with pytest.raises(ValueError, match="argv"):
        box.exec(argv, timeout=DEADLINE)


def test_nul_is_refused(box: Sandbox) -> None:
    """A NUL in an argument is refused, not cut at.

    Why: C strings end there, so "safe" NUL "evil" would pass a check and run as something else.
    Check: the encoding of argv and of paths on the host's side.
    """
    with pytest.raises(ValueError, match="NUL"):
        box.exec(["echo", "a\0b"], timeout=DEADLINE)


@pytest.mark.parametrize("code", [0, 1, 2, 42, 127, 128, 255])
def test_exit_code_is_a_result(box: Sandbox, code: int) -> None:
    """The exit code is the command's own, and one other than 0 is a result, not an exception.

    Why: docker-py and podman-py can give None instead of a code, which `or 0` turns into success.
    Check: where the engine or the agent gets the code from.
    """
    result = box.exec(["sh", "-c", f"exit {code}"], timeout=DEADLINE)
    assert (result.exit_code, result.ok, result.signal) == (code, code == 0, None), result


@pytest.mark.parametrize(("number", "name"), [(15, "SIGTERM"), (9, "SIGKILL"), (11, "SIGSEGV"), (2, "SIGINT")])
def test_death_by_signal_is_128_and_more(box: Sandbox, number: int, name: str) -> None:
    """A command that dies of signal n has the exit code 128+n, and `signal` names it.

    Why: subprocess says -n, Docker 128+n, some engines 0 or None; code that works on one breaks on another.
    Check: how the agent turns a wait status into the result.
    """
    result = box.exec(["sh", "-c", f"kill -{number} $$"], timeout=DEADLINE)
    assert (result.exit_code, result.signal) == (128 + number, name), result


def test_exit_code_above_128_is_no_signal(box: Sandbox) -> None:
    """A command that exits with 137 by itself did not die of a signal.

    Why: guessing the signal from the code reports an orderly end as a kill for lack of memory.
    Check: that `signal` comes from the wait status and not from the code.
    """
    result = box.exec(["sh", "-c", "exit 137"], timeout=DEADLINE)
    assert (result.exit_code, result.signal) == (137, None), result


def test_missing_program_is_127(box: Sandbox) -> None:
    """A program that is not there gives exit code 127 with a reason on stderr, no exception.

    Why: engines raise an API error of their own here, each another one, and some leave the exec hanging.
    Check: what the agent does when execve fails with ENOENT.
    """
    result = box.exec(["samebox-no-such-program"], timeout=DEADLINE)
    assert result.exit_code == 127, result
    assert b"samebox-no-such-program" in result.stderr, result


def test_missing_path_is_127(box: Sandbox, here: str) -> None:
    """A path that leads to no program gives exit code 127 as well.

    Why: with a slash there is no search in PATH, which is another branch in most implementations.
    Check: what the agent does when execve of a path fails with ENOENT.
    """
    result = box.exec([f"{here}/nothing"], timeout=DEADLINE)
    assert (result.exit_code, bool(result.stderr)) == (127, True), result


def test_not_executable_is_126(box: Sandbox, here: str) -> None:
    """A file that can't be executed gives exit code 126 with a reason on stderr.

    Why: it is what every shell says; an exception here makes a wrong mode look like a broken sandbox.
    Check: what the agent does when execve fails with EACCES.
    """
    box.write_text(f"{here}/plain", "echo no\n", mode=0o644)
    result = box.exec([f"{here}/plain"], timeout=DEADLINE)
    assert (result.exit_code, bool(result.stderr), result.stdout) == (126, True, b""), result


def test_directory_is_126(box: Sandbox, here: str) -> None:
    """A directory in the place of the program gives exit code 126.

    Why: `./build` that is a directory is a common slip; execve says EACCES for it as for a missing mode.
    Check: what the agent does when execve fails with EACCES.
    """
    result = box.exec([here], timeout=DEADLINE)
    assert (result.exit_code, bool(result.stderr)) == (126, True), result


def test_script_written_by_files_runs(box: Sandbox, here: str) -> None:
    """A script that was written with mode 0o755 runs by its path.

    Why: archive calls lose modes, and a temporary file that is still open for writing gives ETXTBSY.
    Check: that a write has closed its file before it answers, and has set the mode.
    """
    box.write_text(f"{here}/script", '#!/bin/sh\necho "ran $1"\n', mode=0o755)
    result = box.exec([f"{here}/script", "well"], timeout=DEADLINE)
    assert (result.exit_code, result.stdout) == (0, b"ran well\n"), result


def test_streams_stay_apart(box: Sandbox) -> None:
    """What goes to stdout and what goes to stderr stay apart.

    Why: docker-py and podman-py mix them unless demux is asked for, and old podman leaves headers in the text.
    Check: how the two channels travel.
    """
    result = box.sh("echo out; echo err >&2; echo out2; echo err2 >&2", timeout=DEADLINE)
    assert (result.stdout, result.stderr) == (b"out\nout2\n", b"err\nerr2\n"), result


def test_output_is_byte_exact(box: Sandbox) -> None:
    """Every byte from 0 to 255 comes back as it was written, on both streams.

    Why: a decode, a terminal or a newline conversion on the way changes what is not text.
    Check: that the bytes are made inside the sandbox, so that no symmetric conversion hides, and not decoded after.
    """
    octal = "".join(f"\\{n:03o}" for n in range(256))
    result = box.exec(["sh", "-c", f"printf '{octal}'; printf '{octal}' >&2"], timeout=DEADLINE)
    assert result.stdout == bytes(range(256)), result
    assert result.stderr == bytes(range(256)), result


def test_line_ends_are_kept(box: Sandbox) -> None:
    """Carriage returns, and the lack of a last newline, are kept.

    Why: text mode and terminals turn LF into CR LF or back.
    Check: that no terminal is between the command and the pipe.
    """
    result = box.exec(["printf", r"a\r\nb\n\rc"], timeout=DEADLINE)
    assert result.stdout == b"a\r\nb\n\rc", result


def test_no_output_is_empty(box: Sandbox) -> None:
    """A command that writes nothing gives empty bytes.

    Why: docker-py gives None, which has no `decode`.
    Check: the result's defaults.
    """
    result = box.exec(["true"], timeout=DEADLINE)
    assert (result.exit_code, result.stdout, result.stderr, result.truncated) == (0, b"", b"", False), result


def test_quick_output_is_never_lost(box: Sandbox) -> None:
    """What a command writes just before it exits is there, every time.

    Why: docker-py reads past its own buffer and loses the first frames now and then (docker-py #3332, #2042).
    Check: that the pipes are drained after the child has been reaped, and before the result is sent.
    """
    for n in range(300):
        result = box.exec(["echo", str(n)], timeout=DEADLINE)
        assert result.stdout == b"%d\n" % n, (n, result)


def test_large_output_is_whole(box: Sandbox) -> None:
    """Fifteen million bytes of output arrive whole and in order.

    Why: transports have limits: one sandbox failed at 28 MiB, others lose data when a buffer is full.
    Check: flow control, and that a frame's end is not taken for the stream's.
    """
    count = 2_000_000
    result = box.exec(["seq", "1", str(count)], timeout=DEADLINE, output_limit=32 << 20)
    expected = b"".join(b"%d\n" % n for n in range(1, count + 1))
    seen = (result.exit_code, result.truncated, len(result.stdout))
    assert seen == (0, False, len(expected)), seen
    assert result.stdout == expected, "the bytes are not those that seq writes"


def test_both_streams_may_be_large(box: Sandbox) -> None:
    """A command that fills both streams at once is not blocked by either.

    Why: reading one pipe to its end before the other one deadlocks as soon as the other is full.
    Check: that stdout and stderr are read at the same time.
    """
    script = "i=0; while [ $i -lt 40 ]; do head -c 65536 /dev/zero; head -c 65536 /dev/zero >&2; i=$((i+1)); done"
    result = box.sh(script, timeout=DEADLINE)
    assert (len(result.stdout), len(result.stderr)) == (40 << 16, 40 << 16), result.exit_code


def test_background_child_does_not_hold_up(box: Sandbox) -> None:
    """A call returns when its command has exited, though a background child still holds stdout.

    Why: Docker keeps an exec's stream open for as long as a child does; `sleep 60 &` hung callers for a minute.
    Check: that the direct child's end decides, and not the end of the pipes.
    """
    began = time.monotonic()
    result = box.sh("echo now; sleep 30 & echo $!", timeout=DEADLINE)
    took = time.monotonic() - began
    line, pid = result.stdout.split()
    assert (result.exit_code, line) == (0, b"now"), result
    assert took < 15, f"returned after {took:.1f} s"
    assert box.exec(["kill", "-0", pid], timeout=DEADLINE).ok, "the background child was ended"
    box.exec(["kill", "-9", pid], timeout=DEADLINE)


def test_background_child_survives_its_output(box: Sandbox, here: str) -> None:
    """What a background child writes later is dropped, and does not kill it.

    Why: closing the pipe when the command is over kills the child by SIGPIPE at its next word: servers died.
    Check: that somebody goes on reading the pipe.
    """
    script = "(sleep 0.3; head -c 300000 /dev/zero; echo late >&2; echo done > mark) & echo started"
    result = box.sh(script, cwd=here, timeout=DEADLINE)
    assert result.stdout == b"started\n", result
    waited = box.sh("i=0; while [ ! -e mark ] && [ $i -lt 150 ]; do sleep 0.1; i=$((i+1)); done; cat mark", cwd=here)
    assert waited.stdout == b"done\n", waited


def test_check_raises_on_failure(box: Sandbox) -> None:
    """`check()` returns the result of a success and raises on any other exit code, with what stderr says.

    Why: a failure that only has a number sends its reader back to run the command by hand.
    Check: the text of CommandFailedError.
    """
    good = box.exec(["true"], timeout=DEADLINE)
    assert good.check() is good
    with pytest.raises(CommandFailedError, match=r"exited with 3.*what went wrong"):
        box.sh("echo what went wrong >&2; exit 3", timeout=DEADLINE).check()


def test_text_replaces_what_is_not_utf8(box: Sandbox) -> None:
    """`text` is stdout as UTF-8, with what is not UTF-8 replaced.

    Why: strict decoding makes a log with one odd byte an exception that loses the log.
    Check: the property's decoding.
    """
    result = box.exec(["printf", r"\303\244\377"], timeout=DEADLINE)
    assert result.text == "ä\ufffd", result


def test_sh_runs_a_script(box: Sandbox) -> None:
    """`sh` runs a text with the sandbox's own shell.

    Why: it is the one place where a shell is meant, so pipes and variables have to work there.
    Check: that the script is one argument of `sh -c`.
    """
    result = box.sh("for i in 1 2 3; do echo $((i * 2)); done | tail -n 1; exit 5", timeout=DEADLINE)
    assert (result.exit_code, result.stdout) == (5, b"6\n"), result


def test_long_script_runs(box: Sandbox) -> None:
    """A script that is longer than one argument may be runs as a short one does: its text, parameters and exit code.

    Why: a generated script, or one with a file in it, ends with "Argument list too long".
    Check: how a script is handed to the shell.
    """
    lines = "".join(f"x={number}ä\n" for number in range(40_000))
    script = (
        f"{lines}cat <<'END'\n$x\nEND\nprintf '%s|' \"$x\" $# ${{s-none}} ${{p-none}}; read line; echo $line; exit 3\n"
    )
    result = box.sh(script, input=b"given\n", timeout=DEADLINE)
    assert result.text == "$x\n39999ä|0|none|none|given\n", result
    assert result.exit_code == 3


def test_duration_is_measured(box: Sandbox) -> None:
    """`duration` is how long the command took, in seconds.

    Why: a duration in another unit, or of the last phase only, is worse than none.
    Check: where the clock is started.
    """
    result = box.exec(["sleep", "0.3"], timeout=DEADLINE)
    assert 0.3 <= result.duration < DEADLINE, result


def test_zombies_are_reaped(box: Sandbox, here: str) -> None:
    """Orphans that end are reaped by the sandbox's first process.

    Why: a `sleep` as PID 1 never reaps, and zombies fill the pids limit of a long-lived sandbox.
    Check: that init waits for any child.
    """
    # A process keeps its script's name when it is a zombie, so that only those of this test are counted.
    name = f"z{time.monotonic_ns() % 10**10}"
    box.write_text(f"{here}/{name}", "#!/bin/sh\nsleep 0.1\n", mode=0o755)
    box.sh(f"i=0; while [ $i -lt 20 ]; do (./{name} &) ; i=$((i+1)); done", cwd=here, timeout=DEADLINE).check()
    script = f"cat /proc/[0-9]*/status 2>/dev/null | grep -c '^Name:.{name}'"
    deadline = time.monotonic() + DEADLINE
    while (left := int(box.sh(script, timeout=DEADLINE).stdout)) > 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == 0, f"{left} of 20 orphans are not reaped"


def test_no_descriptors_leak_in(box: Sandbox) -> None:
    """A command begins with the descriptors 0, 1 and 2 and no others.

    Why: an inherited socket of the agent lets the command speak in the agent's name, or keeps a connection open.
    Check: close-on-exec on everything that the agent opens.
    """
    result = box.exec(["sh", "-c", "ls /proc/self/fd | sort -n | tr '\\n' ' '"], timeout=DEADLINE)
    # ls itself has the directory open, as 3.
    assert result.stdout.split() == [b"0", b"1", b"2", b"3"], result


def test_signals_are_at_their_defaults(box: Sandbox) -> None:
    """A command begins with no signal blocked or ignored.

    Why: Python ignores SIGPIPE, and a child that inherits that sees write errors where it should end.
    Check: what the agent resets between fork and execve.
    """
    result = box.exec(["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"], timeout=DEADLINE)
    assert [int(line.split()[1], 16) for line in result.stdout.splitlines()] == [0, 0], result


def test_pipes_end_by_sigpipe(box: Sandbox) -> None:
    """A writer whose reader has gone ends by SIGPIPE, as in any shell.

    Why: with SIGPIPE ignored, `yes | head` writes errors or never ends.
    Check: what the agent resets between fork and execve.
    """
    result = box.sh("yes | head -n 1", timeout=DEADLINE)
    assert (result.exit_code, result.stdout, result.stderr) == (0, b"y\n", b""), result


def test_errors_share_a_base(box: Sandbox, here: str) -> None:
    """Every error of a call is a SandboxError, and the built-in error too.

    Why: a caller that catches one engine's exceptions crashes on the next engine's.
    Check: the error's class.
    """
    with pytest.raises(SandboxError) as caught:
        box.exec(["true"], cwd=f"{here}/nowhere", timeout=DEADLINE)
    assert isinstance(caught.value, FileNotFoundError), repr(caught.value)
    assert isinstance(caught.value, SandboxOSError), repr(caught.value)
