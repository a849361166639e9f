"""Much at once: threads on one sandbox, commands of which half are cancelled, and sandboxes."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from samebox import AsyncSandbox, Sandbox
from samebox.capabilities import Capability
from samebox.engine.registry import make_engine

if TYPE_CHECKING:
    from fault_bed import Service, Table
    from footprint import Footprint
    from samebox.engine import EngineInfo

pytestmark = pytest.mark.timeout(300)


def engine_info(engine: Service) -> EngineInfo:
    """Return what an engine tells of its host."""
    settings = engine.settings()
    with contextlib.closing(make_engine(settings["engine"], settings.get("options", {}))) as made:
        return made.probe()


def test_threads_on_one_sandbox(engine: Service, table: Table, footprint: Footprint) -> None:
    """64 threads use one sandbox; each has its own answers."""

    def work(number: int) -> None:
        for turn in range(10):
            text = f"{number} {turn}\n"
            assert box.exec(["echo", text[:-1]], timeout=60).text == text
            box.write_text(f"file{number}", text)
            assert box.read_text(f"file{number}") == text

    with Sandbox(**engine.settings()) as box, ThreadPoolExecutor(64) as pool:
        list(pool.map(work, range(64)))
    table.add("64 threads on one sandbox", "each has its own answers", engine.name, "1920 calls, each right")


def test_half_cancelled(engine: Service, table: Table, footprint: Footprint) -> None:
    """Of 500 commands at once half are cancelled: the others have their results, and no process is left inside."""
    # Each command takes three processes; where this host's engine can't limit them, it has no limit either.
    more = {} if Capability.PIDS_LIMIT in engine_info(engine).missing else {"pids_limit": 2048}

    async def work() -> None:
        async with AsyncSandbox(**engine.settings(**more)) as box:
            await box.exec(["true"])
            tasks = [asyncio.create_task(box.sh(f"sleep 1; echo {number}", timeout=120)) for number in range(500)]
            await asyncio.sleep(0.5)
            for task in tasks[::2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in done[::2])
            assert [getattr(result, "text", result) for result in done[1::2]] == [f"{n}\n" for n in range(1, 500, 2)]
            for _ in range(100):
                # A command's comm is sh until it has run what it is to run.
                if b"sleep 1" not in (await box.exec(["ps"])).stdout:
                    break
                await asyncio.sleep(0.1)
            else:
                pytest.fail("commands that were cancelled run on")

    asyncio.run(work())
    table.add("500 commands at once, half of them cancelled", "the others' results", engine.name, "250 results")


def test_many_sandboxes(engine: Service, table: Table, footprint: Footprint) -> None:
    """50 sandboxes live at once; each has files of its own."""

    def make(number: int) -> Sandbox:
        box = Sandbox(**engine.settings()).start()
        box.write_text("file", str(number))
        return box

    with ThreadPoolExecutor(8) as pool:
        boxes = list(pool.map(make, range(50)))
        try:
            assert list(pool.map(lambda box: box.read_text("file"), boxes)) == [str(number) for number in range(50)]
        finally:
            list(pool.map(Sandbox.close, boxes))
    table.add("50 sandboxes at once", "each has its own files", engine.name, "works")
