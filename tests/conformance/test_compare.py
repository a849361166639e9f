"""`samebox compare`: which processes count, what the door gives away, and the page in a browser's terms."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from reports import comparison
from samebox.capabilities import Isolation
from samebox.compare.page import compare_page
from samebox.compare.plots import plot
from samebox.compare.posture import door
from samebox.compare.processes import HostProcess, family
from samebox.compare.speed import MEASURES
from samebox.engine import EngineInfo

if TYPE_CHECKING:
    from pathlib import Path

SAMEBOX = [sys.executable, "-c", "from samebox.cli import main; main()"]


def test_page_shows_differences_alone() -> None:
    """Tests with the same verdict on both are left out; what the engines say is escaped."""
    page = compare_page(comparison())

    assert re.findall(r'<details class="test"[^>]* id="([^"]+)"', page) == ["exec/output-is-bytes", "files/fifo"]
    assert "2 of 5 tests of the contract differ" in page
    assert "<script>none" not in page
    assert "None: both claim the same" in page
    assert page.count("<figure") == len(MEASURES) + 1
    assert "not measured" in page


def test_plot_of_one_outlier() -> None:
    """An outlier stays within the figure and does not make the others invisible."""
    figure = plot("exec", "what", "ms", {"a": [1, 1, 1, 1000], "b": [2, 2, 2]})

    assert max(float(number) for number in re.findall(r'cx="([0-9.]+)"', figure)) <= 420
    assert min(float(number) for number in re.findall(r'<rect[^>]* width="([0-9.]+)"', figure)) > 50


def test_family() -> None:
    """From the marked command up to what was there before, and down again; nobody else's."""
    now = {
        1: HostProcess(0, "init", ()),
        10: HostProcess(1, "daemon", ()),
        20: HostProcess(10, "shim", ()),
        21: HostProcess(20, "agent", ()),
        22: HostProcess(21, "sleep", ("sleep", "123", "")),
        23: HostProcess(20, "helper", ()),
        30: HostProcess(10, "stranger", ()),
    }

    assert family(now, {1, 10}, "123") == {20, 21, 23}
    assert family(now, {1, 10}, "456") == set()


@pytest.mark.parametrize(
    ("address", "rootless", "expected"),
    [
        ("tcp://host:2375", False, "everybody who reaches host:2375, without TLS; and with it root"),
        ("ssh://me@host/run/x", True, "whoever has the key for host; and with it the user"),
        ("/usr/bin/bwrap", False, "there is no socket"),
        ("unix:///no/such/socket", False, "the socket can't be looked at"),
    ],
)
def test_door(address: str, rootless: bool, expected: str) -> None:  # noqa: FBT001 - pytest passes it by name
    """Who can use the engine's address, and what that makes of them."""
    assert door(EngineInfo("x", "1", Isolation.CONTAINER, address, rootless=rootless)).startswith(expected)


def test_door_of_a_socket(tmp_path: Path) -> None:
    """Its owner and mode say who."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        said = door(EngineInfo("x", "1", Isolation.CONTAINER, f"unix://{path}"))

    assert said.startswith("everybody who gets into its directory (mode 666)")


def test_command(tmp_path: Path) -> None:
    """An engine against itself by two labels: both files, and no difference but of speed."""
    words = ["compare", "one=local", "two=local", "-k", "argv_is_literal", "--samples", "3", "--report", str(tmp_path)]
    done = subprocess.run([*SAMEBOX, *words], capture_output=True, text=True, timeout=55, check=False, env=os.environ)

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "compare.json").read_text())
    assert set(found["speed"]) == set(found["posture"]) == {"one", "two"}
    assert found["posture"]["one"]["seccomp"] == found["posture"]["two"]["seccomp"]
    assert "0 of 1 tests of the contract differ" in (tmp_path / "compare.html").read_text()


def test_three_engines_are_refused(tmp_path: Path) -> None:
    """It compares two."""
    words = ["compare", "a=local", "b=local", "c=local", "--report", str(tmp_path)]
    done = subprocess.run([*SAMEBOX, *words], capture_output=True, text=True, timeout=55, check=False)

    assert done.returncode == 125
    assert "two engines are compared, not 3" in done.stderr
