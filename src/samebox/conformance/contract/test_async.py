"""The same sandbox, awaited from asyncio."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import PathNotFoundError, SandboxClosedError
from samebox.guest.results import ExecTimeoutError, TreeCount

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewAsyncBox
    from samebox.sandbox.sandbox import AsyncSandbox


def test_exec_and_files(abox: AsyncSandbox) -> None:
    """Commands and files work when awaited, as they do when waited for.

    Why: mirrored code for sync and async drifts apart.
    Check: that both are one implementation.
    """

    async def scenario() -> None:
        await abox.write_text("async/name", "from files")
        result = await abox.exec(["cat", "async/name"], timeout=DEADLINE)
        assert (result.exit_code, result.stdout) == (0, b"from files"), result
        assert (await abox.sh("cat; exit 3", input=b"in", timeout=DEADLINE)).exit_code == 3
        with pytest.raises(PathNotFoundError):
            await abox.read_bytes("async/none")
        await abox.remove("async", recursive=True)

    asyncio.run(scenario())


def test_awaited_commands_run_together(abox: AsyncSandbox) -> None:
    """Awaited commands run at the same time, without a thread each.

    Why: an async front over blocking calls is limited by its thread pool: the next command waits for one that waits for
    it.
    Check: that fifty commands which wait for one another all end.
    """

    async def scenario() -> None:
        await abox.make_dir("together")
        script = "echo > h.$1; while [ $(ls h.* | wc -l) -lt 50 ]; do sleep 0.1; done; echo $1"
        calls = [abox.exec(["sh", "-c", script, "sh", str(n)], cwd="together", timeout=2 * DEADLINE) for n in range(50)]
        results = await asyncio.gather(*calls)
        assert [result.stdout for result in results] == [b"%d\n" % n for n in range(50)]
        await abox.remove("together", recursive=True)

    asyncio.run(scenario())


def test_loop_is_not_blocked(abox: AsyncSandbox) -> None:
    """The event loop goes round while a command runs.

    Why: one blocking call in a coroutine stops every other task of a server.
    Check: what blocks in the async path.
    """

    async def scenario() -> None:
        turns = 0
        task = asyncio.create_task(abox.exec(["sleep", "0.5"], timeout=DEADLINE))
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 10, f"the loop went round {turns} times in half a second"

    asyncio.run(scenario())


def test_start_does_not_block_the_loop(new_abox: NewAsyncBox) -> None:
    """The event loop goes round while a sandbox is started and closed.

    Why: the engines' clients are synchronous, and creating takes a second on a slow disk.
    Check: that the engine is called in a worker thread.
    """

    async def scenario() -> None:
        longest, running = 0.0, True

        async def watch() -> None:
            nonlocal longest
            loop = asyncio.get_running_loop()
            while running:
                before = loop.time()
                await asyncio.sleep(0.005)
                longest = max(longest, loop.time() - before)

        watcher = asyncio.create_task(watch())
        box = new_abox()
        began = asyncio.get_running_loop().time()
        async with box:
            assert (await box.exec(["echo", "hi"], timeout=DEADLINE)).stdout == b"hi\n"
        took = asyncio.get_running_loop().time() - began
        running = False
        await watcher
        # On an engine that needs a few milliseconds there is nothing to see.
        assert longest < max(0.25, took / 2), f"the loop stood still for {longest:.2f} s of {took:.2f} s"

    asyncio.run(scenario())


def test_timeout_has_partial_output(abox: AsyncSandbox) -> None:
    """A timeout raises from an awaited command as from a plain one.

    Why: asyncio's TimeoutError and ours must not be mixed up: one of them has the output.
    Check: what is raised.
    """

    async def scenario() -> None:
        with pytest.raises(ExecTimeoutError) as caught:
            await abox.sh("echo partial; sleep 300", timeout=0.5)
        assert caught.value.stdout == b"partial\n"

    asyncio.run(scenario())


def test_process_is_talked_to(abox: AsyncSandbox) -> None:
    """A process can be written to, read from and waited for by awaiting.

    Why: streams are where sync and async differ most.
    Check: the async process's streams.
    """

    async def scenario() -> None:
        async with await abox.spawn(["cat"], timeout=DEADLINE) as process:
            await process.stdin.write(b"one\ntwo\n")
            assert await process.stdout.readline() == b"one\n"
            await process.stdin.close()
            assert [line async for line in process.stdout.lines()] == [b"two\n"]
            assert (await process.wait(DEADLINE)).exit_code == 0

    asyncio.run(scenario())


def test_cancelled_read_loses_nothing(abox: AsyncSandbox) -> None:
    """Giving up a read with a timeout loses no output and does not end the process.

    Why: a reader that polls with `wait_for` would lose the bytes that came in between.
    Check: what happens to data that arrives for a waiter that was cancelled.
    """

    async def scenario() -> None:
        async with await abox.spawn(["cat"], timeout=DEADLINE) as process:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(process.stdout.read(100), 0.05)
            await process.stdin.write(b"all of it\n")
            assert await process.stdout.readline() == b"all of it\n"

    asyncio.run(scenario())


def test_another_loop_can_use_it(abox: AsyncSandbox) -> None:
    """One sandbox can be used from one event loop after another.

    Why: a future or lock that is bound to the first loop fails in the second, as in every test suite.
    Check: what is kept between calls.
    """

    async def once(word: str) -> bytes:
        return (await abox.exec(["echo", word], timeout=DEADLINE)).stdout

    assert [asyncio.run(once(word)) for word in ("a", "b", "c")] == [b"a\n", b"b\n", b"c\n"]


def test_upload_and_download(abox: AsyncSandbox, tmp_path: Path) -> None:
    """Trees are copied in and out by awaiting.

    Why: the host's files are read by blocking calls, which must not stop the loop or be forgotten.
    Check: the transfer's worker threads.
    """

    async def scenario() -> None:
        (tmp_path / "in" / "sub").mkdir(parents=True)
        (tmp_path / "in" / "sub" / "file").write_bytes(b"x" * 100_000)
        await abox.upload(tmp_path / "in", "tree")
        assert (await abox.exec(["wc", "-c", "tree/sub/file"], timeout=DEADLINE)).stdout.split()[0] == b"100000"
        await abox.download("tree", tmp_path / "out")
        assert (tmp_path / "out" / "sub" / "file").read_bytes() == b"x" * 100_000
        await abox.remove("tree", recursive=True)

    asyncio.run(scenario())


def test_closed_sandbox_says_so(new_abox: NewAsyncBox) -> None:
    """A closed sandbox raises SandboxClosedError, and closing again does nothing.

    Why: a sandbox that quietly starts again leaks.
    Check: the lifecycle's own state.
    """

    async def scenario() -> None:
        box = new_abox()
        await box.exec(["true"], timeout=DEADLINE)
        await box.close()
        await box.close()
        with pytest.raises(SandboxClosedError):
            await box.exec(["true"], timeout=DEADLINE)

    asyncio.run(scenario())


def test_cancelled_line_loses_nothing(abox: AsyncSandbox) -> None:
    """The beginning of a line that a cancelled `readline` had taken is there for the next one, and so for `read`.

    Why: a timeout around a read is how every chat with a server is written, and half its answer would be gone.
    Check: what a read that is interrupted does with what it has.
    """

    async def scenario() -> None:
        async with await abox.spawn(["sh", "-c", "printf one; read x; echo two; read x; printf end"]) as process:
            for read in (process.stdout.readline, process.stdout.read):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(read(), 0.5)
            await process.stdin.write(b"\n")
            assert await asyncio.wait_for(process.stdout.readline(), DEADLINE) == b"onetwo\n"
            await process.stdin.write(b"\n")
            assert await asyncio.wait_for(process.stdout.read(), DEADLINE) == b"end"

    asyncio.run(scenario())


def test_cancelled_download_leaves_nothing(abox: AsyncSandbox, tmp_path: Path) -> None:
    """A download that is cancelled raises CancelledError, and leaves neither descriptors nor half a file.

    Why: a file that is closed while a worker thread still writes it closes a descriptor that is another's by then.
    Check: that a cancelled operation waits for its worker before it releases anything.
    """
    script = (
        "mkdir many; i=0; while [ $i -lt 300 ]; do echo $i > many/$i; i=$((i+1)); done; "
        "dd if=/dev/zero of=many/large bs=65536 count=256 2> /dev/null"
    )

    async def scenario() -> None:
        await abox.sh(script, timeout=DEADLINE)
        before = descriptors()
        cancelled = 0
        for number in range(20):
            task = asyncio.create_task(abox.download("many", tmp_path / str(number)))
            await asyncio.sleep(0.002 * number)
            task.cancel()
            done = await asyncio.gather(task, return_exceptions=True)
            cancelled += isinstance(done[0], asyncio.CancelledError)
            assert isinstance(done[0], asyncio.CancelledError | TreeCount), repr(done[0])
        assert cancelled, "every download was over before it could be cancelled"
        assert descriptors() <= before, "descriptors are left"

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    asyncio.run(scenario())
    assert not list(tmp_path.rglob(".samebox-*")), "files are left that are not whole"
