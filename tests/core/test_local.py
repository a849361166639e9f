"""The local engine's leftovers: a killed owner's directory goes with the next start, a living one's stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from samebox import Sandbox

if TYPE_CHECKING:
    import pytest

OWNER = """
import sys
from samebox import Sandbox
with Sandbox(engine="local", isolation="none") as box:
    print(box.sh("pwd").text, end="", flush=True)
    sys.stdin.read()
"""


def test_next_start_removes_what_a_killed_owner_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a living owner, a stranger's file of such a name, or what a link of such a name leads to."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "samebox-local-link").symlink_to("elsewhere")
    (tmp_path / "samebox-local-file").touch()
    owners = [
        subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)
        for _ in range(2)
    ]
    dead, alive = (Path(owner.stdout.readline().decode().strip()) for owner in owners if owner.stdout is not None)
    owners[0].kill()
    owners[0].communicate()
    assert dead.is_dir()

    with Sandbox(engine="local", isolation="none") as box:
        box.exec(["true"]).check()
        assert not dead.exists()
        assert alive.is_dir()
    owners[1].communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "elsewhere", "samebox-local-file", "samebox-local-link",
    ]  # fmt: skip
