"""What is logged: which engine is taken and why, and the stages of a sandbox; nothing of what is done in it."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import pytest

from samebox import EngineUnavailableError, Sandbox, UnsupportedError

STAGES = ["created", "started", "connected", "removed"]


def test_stages(caplog: pytest.LogCaptureFixture) -> None:
    """Each with its sandbox, its engine and its time; no value of the environment, no command and no content."""
    word = "hunter2"
    with caplog.at_level(logging.DEBUG, "samebox"):
        with Sandbox(engine="local", isolation="none", env={"TOKEN": word}) as box:
            box.exec(["echo", word], env={"OTHER": word})
            box.write_text(word, word)
        name = box.name
    lines = [record.getMessage() for record in caplog.records if record.name == "samebox.sandbox"]
    assert [line.split()[0] for line in lines] == STAGES
    assert all(re.fullmatch(rf"\w+ {name} on local in \d+\.\d{{3}} s", line) for line in lines[:3]), lines
    assert word not in caplog.text
    assert "samebox.engine" in {record.name for record in caplog.records}


def test_engine_that_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """With the reason, as in the error."""
    with caplog.at_level(logging.INFO, "samebox"), pytest.raises((UnsupportedError, EngineUnavailableError)):
        Sandbox(engine="local", isolation="none", hostname="box").start()
    assert "passed over local: engine 'local' does not support hostname" in caplog.text


def test_nothing_is_printed_where_nobody_listens() -> None:
    """A library's log is its user's to switch on."""
    script = "from samebox import Sandbox\nwith Sandbox(engine='local', isolation='none') as box: box.exec(['true'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize("option", ["--verbose", "-v"])
def test_verbose_command_line(option: str) -> None:
    """It tells on stderr, and the command's output stays the command's."""
    main = "from samebox.cli import main; main()"
    argv = [sys.executable, "-c", main, option, "run", "--engine", "local", "--isolation", "none", "--", "echo", "out"]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    assert done.stdout == "out\n"
    told = re.findall(r"(?m)^samebox\.sandbox: (\w+) ", done.stderr)
    assert told == STAGES, done.stderr
    assert "samebox.engine: took local" in done.stderr
