"""Several processes at one name: two owners, creators at once, and a replacement of what is in use."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from child_program import ChildProgram
from samebox import ConnectionLostError, Sandbox, SandboxError, SandboxGoneError
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from fault_bed import Service, Table
    from footprint import Footprint

pytestmark = pytest.mark.timeout(180)

TIMEOUT = 20.0
ALONE = "refused before: its sandboxes belong to one process"
ATTACH = """
with Sandbox(**SETTINGS) as box:
    print("attached" if box.attached else "made", flush=True)
    assert box.exec(["echo", "on"]).text == "on\\n"
    sys.stdin.readline() if SETTINGS.get("keep") else time.sleep(1)
"""
# Whoever attaches may meet the moment at which the maker has closed it.
TOLERANT = """
for _ in range(4):
    try:
        with Sandbox(**SETTINGS) as box:
            assert box.exec(["echo", "on"]).text == "on\\n"
    except (SandboxGoneError, ConnectionLostError):
        pass
print("ok")
"""


@pytest.fixture
def name() -> str:
    """Return a name that no other test uses."""
    return f"faults-{secrets.token_hex(4)}"


def _shareable(engine: Service, name: str) -> bool:
    try:
        Sandbox(**engine.settings(name=name)).start().close()
    except UnsupportedError:
        return False
    return True


def test_two_owners(engine: Service, name: str, tmp_path: Path, table: Table, footprint: Footprint) -> None:
    """Who attaches leaves the sandbox to its maker, whatever becomes of who attached."""
    row, promised = "two processes use one sandbox, and one is killed", "the maker's goes on; nothing is left"
    if not _shareable(engine, name):
        table.add(row, promised, engine.name, ALONE)
        return
    with Sandbox(**engine.settings(name=name)) as box:
        box.write_text("file", "kept")
        with ChildProgram(tmp_path, ATTACH, engine.settings(name=name)) as program:
            assert program.line() == "attached", program.end()
            program.process.kill()
        assert box.read_text("file") == "kept"
        with ChildProgram(tmp_path, ATTACH, engine.settings(name=name)) as program:
            assert program.line() == "attached", program.end()
            assert program.end()[0] == 0
        assert box.read_text("file") == "kept"
    table.add(row, promised, engine.name, "goes on")


def test_creators(engine: Service, name: str, tmp_path: Path, table: Table, footprint: Footprint) -> None:
    """Four processes make, use and close the sandbox of one name again and again: each time it works or is gone."""
    row, promised = "four processes make and close one name at once", "each works, or is told that it is gone"
    if not _shareable(engine, name):
        table.add(row, promised, engine.name, ALONE)
        return
    programs = [ChildProgram(tmp_path, TOLERANT, engine.settings(name=name)) for _ in range(4)]
    ends = [program.end(150) for program in programs]
    assert [end[:2] for end in ends] == [(0, "ok\n")] * 4, [end[2] for end in ends if end[0]]
    table.add(row, promised, engine.name, "works")


def test_replaced_in_use(engine: Service, name: str, table: Table, footprint: Footprint) -> None:
    """Who used what was replaced is told that it is gone; closing it leaves the new one alone."""
    row, promised = "sandbox replaced while it is used", "the old one is gone; the new one works"
    if not _shareable(engine, name):
        table.add(row, promised, engine.name, ALONE)
        return
    with Sandbox(**engine.settings(name=name)) as box:
        box.write_text("file", "old")
        with Sandbox(**engine.settings(name=name, on_conflict="replace")) as other:
            with pytest.raises((SandboxGoneError, ConnectionLostError)):
                box.read_text("file")
            with pytest.raises(SandboxGoneError):
                box.exec(["true"], timeout=TIMEOUT)
            box.close()
            assert not other.exists("file")
            assert other.exec(["echo", "on"], timeout=TIMEOUT).text == "on\n"
    with pytest.raises(SandboxError):
        other.exec(["true"], timeout=TIMEOUT)
    table.add(row, promised, engine.name, "SandboxGoneError; works")
