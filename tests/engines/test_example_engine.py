"""The complete engine of the documentation, and the package that `samebox new-engine` writes: installed and tested."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs/examples/samebox-unshare"
SAMEBOX = [sys.executable, "-c", "from samebox.cli import main; main()"]


def install(package: Path, target: Path) -> dict[str, str]:
    """Install a package to a directory of its own, and return the environment in which it is found."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--target", str(target), str(package)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(target)}


def samebox(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in an environment."""
    return subprocess.run([*SAMEBOX, *words], env=environment, capture_output=True, text=True, check=False, timeout=280)


@pytest.mark.timeout(400)
def test_the_complete_engine_keeps_the_contract(tmp_path: Path) -> None:
    """What the page shows is an engine: the profile core passes on it."""
    if "SAMEBOX_TEST_IMAGE_DIR" not in os.environ:
        message = "needs an image: run the tests by tools/engines.py run -- ..."
        (pytest.fail if os.environ.get("SAMEBOX_REQUIRE_ENGINES") else pytest.skip)(message)
    shutil.copytree(EXAMPLE, tmp_path / "source")
    environment = install(tmp_path / "source", tmp_path / "installed")
    image = f"dir:{os.environ['SAMEBOX_TEST_IMAGE_DIR']}/busybox"
    out = str(tmp_path / "out")
    done = samebox(environment, "conformance", "unshare", "--image", image, "--profile", "core", "--report", out)

    assert done.returncode == 0, done.stdout + done.stderr
    (engine,) = json.loads((tmp_path / "out/result.json").read_text())["engines"]
    assert engine["conforms"] == ["core"]
    assert engine["counts"].keys() == {"PASS"}


def test_the_complete_engine_keeps_its_walls(tmp_path: Path) -> None:
    """What it claims beyond core holds, seen from inside."""
    if "SAMEBOX_TEST_IMAGE_DIR" not in os.environ:
        message = "needs an image: run the tests by tools/engines.py run -- ..."
        (pytest.fail if os.environ.get("SAMEBOX_REQUIRE_ENGINES") else pytest.skip)(message)
    shutil.copytree(EXAMPLE, tmp_path / "source")
    environment = install(tmp_path / "source", tmp_path / "installed")
    image = f"dir:{os.environ['SAMEBOX_TEST_IMAGE_DIR']}/busybox"
    done = samebox(environment, "conformance", "unshare", "--image", image, "-k", "hardening")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_complete_engine_is_small() -> None:
    """At most 150 lines of code, as the page says."""
    lines: list[str] = []
    for path in EXAMPLE.glob("src/*/*.py"):
        text = re.sub(r'^ *""".*?"""$', "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        lines += [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    assert len(lines) <= 150, len(lines)


def test_a_new_engine_registers_and_fails_honestly(tmp_path: Path) -> None:
    """It installs, is listed, and each test of the suite fails by what is not written, none by an accident."""
    written = samebox(dict(os.environ), "new-engine", "my-vm", "--directory", str(tmp_path / "source"))
    assert written.returncode == 0, written.stderr
    environment = install(tmp_path / "source", tmp_path / "installed")

    (row,) = (
        row for row in json.loads(samebox(environment, "engines", "--json").stdout)["engines"] if row["name"] == "my-vm"
    )
    assert row["distribution"] == "samebox-my-vm 0.1.0"
    out = str(tmp_path / "out")
    done = samebox(environment, "conformance", "my-vm", "-k", "(argv or limits) and not too_small", "--report", out)
    assert done.returncode == 1, done.stdout + done.stderr
    (engine,) = json.loads((tmp_path / "out/result.json").read_text())["engines"]
    assert engine["counts"].keys() == {"FAIL", "UNSUPPORTED"}
    assert not engine["problems"]
    failed = [result for result in engine["results"] if result["verdict"] == "FAIL"]
    assert all("is not written yet" in result["reason"] for result in failed), failed


def test_a_new_engine_passes_the_linters(tmp_path: Path) -> None:
    """Its code compiles, and has no placeholder left."""
    samebox(dict(os.environ), "new-engine", "vm", "--directory", str(tmp_path / "vm"))
    for path in (path for path in (tmp_path / "vm").rglob("*") if path.is_file()):
        text = path.read_text(encoding="utf-8")
        assert "{{" not in text, path
        if path.suffix == ".py":
            compile(text, str(path), "exec")


@pytest.mark.parametrize(
    ("name", "message"),
    [("local", "has an engine of the name 'local' already"), ("My_VM", "is no name"), ("auto", "is no name")],
)
def test_names_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    """The text says why."""
    done = samebox(dict(os.environ), "new-engine", name, "--directory", str(tmp_path / "x"))

    assert done.returncode == 125, done
    assert message in done.stderr


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """A directory with something in it stays as it is."""
    (tmp_path / "file").write_text("mine")
    done = samebox(dict(os.environ), "new-engine", "vm", "--directory", str(tmp_path))

    assert done.returncode == 125, done
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
