"""The process that uses sandboxes is killed, ends without a word, forks or has threads."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from child_program import ChildProgram
from samebox.sandbox.inventory import Inventory

if TYPE_CHECKING:
    from pathlib import Path

    from fault_bed import Service, Table
    from footprint import Footprint

pytestmark = pytest.mark.timeout(240)

IDLE = 3.0
"""The idle timeout of sandboxes whose owner is killed, in seconds."""
PHASES = {
    "choosing": "probe",
    "importing": "ensure_image",
    "creating": "create",
    "starting": "start",
    "connecting": "connect",
    "running": "",
    "closing": "remove",
}
"""What the process is in when the signal comes, and the method of its engine that begins it."""
# The signal comes while the method runs, or the command.
KILLED = """
from samebox.engine.registry import registry

method = {method!r}
engine = registry().get(SETTINGS["engine"])
if method:
    original = getattr(engine, method)
    def told(*args, **settings):
        print("there", flush=True)
        return original(*args, **settings)
    setattr(engine, method, told)
box = Sandbox(**SETTINGS, idle_timeout={idle})
with box:
    if not method:
        print("there", flush=True)
    box.exec(["sleep", "1" if method else "60"])
"""
PROGRAMS = {
    "ends without close()": """
box = Sandbox(**SETTINGS).start()
assert box.exec(["echo", "on"]).text == "on\\n"
print("ok")
""",
    "is collected without close()": """
import warnings
warnings.simplefilter("always")
box = Sandbox(**SETTINGS).start()
box.exec(["true"])
engine = box.engine
with warnings.catch_warnings(record=True) as seen:
    name = box.name
    del box
    gc.collect()
assert [warning.category for warning in seen] == [ResourceWarning], seen
ends = time.monotonic() + 20
while any(status.name == name for status in engine.list()) and time.monotonic() < ends:
    time.sleep(0.1)
assert not any(status.name == name for status in engine.list())
print("ok")
""",
    "ends with sys.exit() in a command of another thread": """
box = Sandbox(**SETTINGS).start()
threading.Thread(target=lambda: box.exec(["sleep", "30"]), daemon=True).start()
time.sleep(0.5)
print("ok", flush=True)
sys.exit(0)
""",
    "forks, and the child uses a sandbox of its own": """
with Sandbox(**SETTINGS) as box:
    box.exec(["true"])
    child = os.fork()
    if child == 0:
        with Sandbox(**SETTINGS) as other:
            assert other.exec(["echo", "child"]).text == "child\\n"
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert box.exec(["echo", "on"]).text == "on\\n"
print("ok")
""",
    "forks, and the child uses the parent's sandbox": """
with Sandbox(**SETTINGS) as box:
    box.exec(["true"])
    child = os.fork()
    if child == 0:
        assert box.exec(["echo", "child"]).text == "child\\n"
        box.close()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert box.exec(["echo", "on"]).text == "on\\n"
print("ok")
""",
    "forks workers, which use what was made before": """
boxes = [Sandbox(**SETTINGS) for _ in range(3)]
children = []
for box in boxes:
    child = os.fork()
    if child == 0:
        with box:
            assert box.exec(["echo", "child"]).text == "child\\n"
        sys.exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
print("ok")
""",
    **{
        f"uses multiprocessing by {method}": f"""
import multiprocessing

def work(settings):
    with Sandbox(**settings) as box:
        return box.exec(["echo", "child"]).text

if __name__ == "__main__":
    with Sandbox(**SETTINGS) as box:
        box.exec(["true"])
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            assert pool.map(work, [SETTINGS] * 3) == ["child\\n"] * 3
            pool.close()
            pool.join()
        assert box.exec(["echo", "on"]).text == "on\\n"
    print("ok")
"""
        for method in ("fork", "spawn", "forkserver")
    },
    "has a sandbox for each of 8 threads": """
from concurrent.futures import ThreadPoolExecutor

def work(number):
    with Sandbox(**SETTINGS) as box:
        return box.exec(["echo", str(number)]).text

with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(work, range(8))) == [f"{number}\\n" for number in range(8)]
print("ok")
""",
}


def _killed(engine: Service, directory: Path, number: signal.Signals, phase: str) -> str:
    """Kill a process in a phase, and return what was seen."""
    code = KILLED.format(method=PHASES[phase], idle=IDLE)
    with ChildProgram(directory, code, engine.settings()) as program:
        assert program.line() == "there", program.end()
        time.sleep(0.02)
        program.send(number)
        exit_code, _, errors = program.end()
        assert exit_code != 0, errors
        return "KeyboardInterrupt" if "KeyboardInterrupt" in errors else "killed"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_killed(engine: Service, number: signal.Signals, tmp_path: Path, table: Table, footprint: Footprint) -> None:
    """What a killed process has left ends by itself within its idle timeout, and `samebox prune` finds it."""
    with ThreadPoolExecutor(len(PHASES)) as pool:
        directories = {phase: tmp_path / phase for phase in PHASES}
        for directory in directories.values():
            directory.mkdir()
        seen = dict(
            zip(PHASES, pool.map(lambda phase: _killed(engine, directories[phase], number, phase), PHASES), strict=True)
        )
    ends = time.monotonic() + IDLE + 20
    with Inventory([engine.engine], options={engine.engine: engine.settings().get("options", {})}) as inventory:
        while any(entry.status.state == "running" for entry in inventory.sandboxes()) and time.monotonic() < ends:
            time.sleep(0.2)
        assert not [entry for entry in inventory.sandboxes() if entry.status.state == "running"]
        for entry in inventory.abandoned():
            inventory.remove(entry)
        assert inventory.sandboxes() == []
    for phase, how in seen.items():
        promised = "ended within its idle_timeout, found by prune"
        table.add(f"process ended by {number.name} while {phase}", promised, engine.name, how)


@pytest.mark.parametrize("what", PROGRAMS)
def test_program(engine: Service, what: str, tmp_path: Path, table: Table, footprint: Footprint) -> None:
    """It does what it is to, and leaves nothing."""
    with ChildProgram(tmp_path, PROGRAMS[what], engine.settings()) as program:
        exit_code, out, errors = program.end(100)
    assert (exit_code, out) == (0, "ok\n"), errors
    table.add(f"process {what}", "its sandboxes work, and are removed", engine.name, "works, removed")
