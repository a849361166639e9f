"""The host that a process runs on: its clock, its HOME, its runtime directory and its temporary files."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from child_program import ChildProgram

if TYPE_CHECKING:
    from pathlib import Path

    from fault_bed import Service, Table
    from footprint import Footprint

pytestmark = pytest.mark.timeout(120)

USE = """
def use():
    with Sandbox(**SETTINGS) as box:
        assert box.exec(["echo", "on"], timeout=20).text == "on\\n"
        box.write_bytes("file", bytes(100_000))
        assert box.read_bytes("file") == bytes(100_000)
        return box
"""
# Every clock of this process that can be set, and none of the machine's: a process can't be given another real-time
# clock (time_namespaces(7) has the monotonic ones alone).
CLOCK = (
    USE
    + """
offset = 0
real = time.time
time.time = lambda: real() + offset
with Sandbox(**SETTINGS, idle_timeout=60) as box:
    for offset in (0, -10 * 365 * 86400, 10 * 365 * 86400):
        assert box.exec(["echo", "on"], timeout=20).text == "on\\n"
        began = time.monotonic()
        try:
            box.exec(["sleep", "30"], timeout=0.5)
        except TimeoutError:
            pass
        assert time.monotonic() - began < 6
        use()
print("ok")
"""
)
SURROUNDINGS = {
    "HOME read-only": ("HOME", USE + 'use()\nprint("ok")\n'),
    "HOME missing": ("", USE + 'del os.environ["HOME"]\nuse()\nprint("ok")\n'),
    "XDG_RUNTIME_DIR missing": ("", USE + 'os.environ.pop("XDG_RUNTIME_DIR", None)\nuse()\nprint("ok")\n'),
    "TMPDIR full": ("TMPDIR", USE + 'use()\nprint("ok")\n'),
    "TMPDIR missing": ("", USE + 'os.environ["TMPDIR"] = "/nowhere/at/all"\nuse()\nprint("ok")\n'),
    "time.time() set back and forward by ten years": ("", CLOCK),
}


@pytest.mark.parametrize("what", SURROUNDINGS)
def test_surroundings(engine: Service, what: str, tmp_path: Path, table: Table, footprint: Footprint) -> None:
    """A sandbox works, and nothing is left."""
    variable, code = SURROUNDINGS[what]
    place, environment = tmp_path / "place", {}
    place.mkdir()
    if variable:
        options = "ro" if variable == "HOME" else "size=4k,mode=1777"
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", options, "place", str(place)], check=True)
        environment[variable] = str(place)
        if variable == "TMPDIR":
            with pytest.raises(OSError, match="No space"):
                (place / "filler").write_bytes(bytes(1 << 20))
    try:
        with ChildProgram(tmp_path, code, engine.settings(), environment) as program:
            exit_code, out, errors = program.end(100)
    finally:
        if variable:
            subprocess.run(["/bin/umount", str(place)], check=True)
    if what == "HOME read-only" and engine.is_embedded:
        assert "EngineUnavailableError: bubblewrap as root needs device nodes of its own" in errors
        assert "set options.cache_dir to a directory" in errors
        table.add(what, "a sandbox works", engine.name, "as root it needs options.cache_dir, and says so")
        return
    assert (exit_code, out) == (0, "ok\n"), errors
    table.add(what, "a sandbox works", engine.name, "works")
