"""A real project: pluggy's own test suite, run in a sandbox, has the same outcome on every engine."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from samebox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from targets import Target

VERSION = "1.6.0"


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pluggy's sdist from the package registry, unpacked."""
    directory = tmp_path_factory.mktemp("pluggy")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", f"pluggy=={VERSION}"],
        cwd=directory,
        check=True,
    )
    with tarfile.open(directory / f"pluggy-{VERSION}.tar.gz") as sdist:
        sdist.extractall(directory, filter="data")
    return directory / f"pluggy-{VERSION}"


@pytest.fixture(scope="session")
def outcomes() -> dict[str, dict[str, int]]:
    """The counts of each engine so far."""
    return {}


@pytest.mark.timeout(300)
def test_the_same_counts_on_every_engine(target: Target, sources: Path, outcomes: dict[str, dict[str, int]]) -> None:
    """The project goes in by upload, its tests run, and passed and failed are the same everywhere."""
    with Sandbox(**target.settings("debian"), env={"PYTHONPATH": "/workspace/pluggy/src"}) as box:
        count = box.upload(sources, "pluggy")
        assert count.files > 30, count
        # The version is written by setuptools-scm at build time; the sdist has it already.
        result = box.exec(
            ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "testing", "--ignore=testing/benchmark.py"],
            cwd="pluggy",
            timeout=240,
        )
    tail = result.text.strip().rpartition("\n")[2]
    outcomes[target.name] = {
        word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|skipped|xfailed)", tail)
    }

    assert outcomes[target.name].get("passed", 0) > 100, result.text[-3000:] + result.stderr.decode()[-2000:]
    first = next(iter(outcomes.values()))
    assert outcomes[target.name] == first, outcomes
