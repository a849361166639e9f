"""The examples of README and docs run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```python *([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks() -> list[object]:
    """Return every fenced Python block: its place, what it needs, and its code."""
    found: list[object] = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], match[2], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize(("needs", "code"), blocks())
def test_example(needs: str, code: str, tmp_path: Path) -> None:
    """It runs in a process of its own, in an empty directory, with the engines of this machine."""
    environment = dict(os.environ)
    for name, variable in (("DOCKER", "DOCKER_HOST"), ("PODMAN", "CONTAINER_HOST")):
        if url := os.environ.get(f"SAMEBOX_TEST_{name}_URL"):
            environment[variable] = url
        elif f"engine={name.lower()}" in needs:
            message = f"needs {name.lower()}: run the tests by tools/engines.py run -- ..."
            (pytest.fail if os.environ.get("SAMEBOX_REQUIRE_ENGINES") else pytest.skip)(message)
    if "norun" in needs:
        compile(code, "example", "exec")
        return
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_has_exactly_two_set_up_commands() -> None:
    """One for the main job, one for all tests."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert re.findall(r"^<!-- (\w+)-command -->$", text, re.MULTILINE) == ["main", "test"]
