"""`samebox conformance` as a user runs it, on the engine that needs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SAMEBOX = [sys.executable, "-c", "from samebox.cli import main; main()"]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*SAMEBOX, "conformance", *words], capture_output=True, text=True, timeout=55, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_a_good_engine(tmp_path: Path) -> None:
    """Exit code 0, a short summary, three files; the caller's own pytest settings have no say."""
    done = run("local", "-k", "argv", "--report", str(tmp_path / "out"), PYTEST_ADDOPTS="--nonsense")

    assert done.returncode == 0, done
    assert "local (local " in done.stdout
    assert "PASS " in done.stdout
    assert "partial: " in done.stdout
    found = json.loads((tmp_path / "out/result.json").read_text())
    (engine,) = found["engines"]
    assert engine["counts"].keys() == {"PASS"}
    assert engine["partial"]
    assert not engine["conforms"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["junit.xml", "report.html", "result.json"]


def test_an_engine_that_is_not_there() -> None:
    """It is an ERROR, and the exit code says so; the others are tested all the same."""
    done = run(
        "docker", "local", "-k", "argv-is-literal or argv_is_literal", "--engine-option", "docker.url=unix:///no"
    )

    assert done.returncode == 1, done
    assert "docker (docker): ERROR: cannot be tested" in done.stdout
    assert "PASS 1" in done.stdout


def test_a_known_failure_that_matches_nothing() -> None:
    """It fails the run, by a problem of the run as a whole."""
    done = run("local", "-k", "argv_is_literal", "--known", "exec/no-such-test=https://example.org/1")

    assert done.returncode == 1, done
    assert "there is no such test" in done.stdout


def test_mistakes_are_125() -> None:
    """One line each, and no traceback."""
    for words, text in (
        (["nonsense"], "there is no engine 'nonsense'"),
        (["local", "--profile", "best"], "there is no profile 'best'; there are: core"),
        (["local", "local"], "there twice"),
    ):
        done = run(*words)
        assert done.returncode == 125, done
        assert text in done.stderr
        assert "Traceback" not in done.stderr
