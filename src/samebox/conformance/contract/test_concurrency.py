"""Several things at once in one sandbox, and from several threads and processes."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from samebox.conformance.contract.harness import DEADLINE

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.sandbox.sandbox import Sandbox


def test_commands_run_at_the_same_time(box: Sandbox, here: str) -> None:
    """Commands of one sandbox run at the same time: each sees the others before it ends.

    Why: a lock around a connection makes them wait for one another, and two that talk to each other deadlock.
    Check: that an operation does not hold the connection while it waits.
    """
    script = "echo > here.$1; while [ $(ls here.* | wc -l) -lt 8 ]; do sleep 0.02; done; echo $1"
    with ThreadPoolExecutor(8) as pool:
        found = [
            pool.submit(box.exec, ["sh", "-c", script, "sh", str(n)], cwd=here, timeout=DEADLINE) for n in range(8)
        ]
        assert [future.result().stdout for future in found] == [b"%d\n" % n for n in range(8)]


def test_outputs_are_not_mixed(box: Sandbox) -> None:
    """Each of many concurrent commands gets its own output, and all of it.

    Why: docker-py is not thread-safe by its own word; shared buffers hand one command's bytes to another.
    Check: that every frame names its stream.
    """

    def one(number: int) -> bool:
        word = f"{number:03d}" * 1000
        result = box.exec(["sh", "-c", f"for i in 1 2 3 4 5 6 7 8; do echo {word}; done"], timeout=DEADLINE)
        return result.stdout == f"{word}\n".encode() * 8

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(64)))


def test_files_while_a_command_runs(box: Sandbox, here: str) -> None:
    """File operations work while a command runs that they talk to.

    Why: archive calls pause the container or wait for the exec in some engines.
    Check: that operations of one connection are independent.
    """
    script = "while [ ! -e ask ]; do sleep 0.02; done; cat ask > answer; sleep 300"
    with box.spawn(["sh", "-c", script], cwd=here, timeout=DEADLINE) as process:
        box.write_text(f"{here}/ask", "question")
        deadline = time.monotonic() + DEADLINE
        while not box.exists(f"{here}/answer") or not box.stat(f"{here}/answer").size:
            assert time.monotonic() < deadline, "the command has not seen the file"
            time.sleep(0.02)
        assert box.read_text(f"{here}/answer") == "question"
        process.kill()


def test_threads_share_a_sandbox(box: Sandbox, here: str) -> None:
    """Threads can use one sandbox at once, for commands and files alike.

    Why: a client whose state is per call only by convention breaks under load, and rarely in tests.
    Check: what is shared between calls, and its locks.
    """

    def one(number: int) -> bytes:
        path = f"{here}/f{number}"
        data = os.urandom(20_000)
        box.write_bytes(path, data)
        echoed = box.exec(["cat", path], timeout=DEADLINE).stdout
        assert box.read_bytes(path) == data == echoed
        box.remove(path)
        return data

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(one, range(80)))) == 80
    assert box.list_dir(here) == []


def test_many_commands_at_once(box: Sandbox) -> None:
    """A hundred commands can run at the same time.

    Why: docker-py's pool has ten connections, and the eleventh exec waits for one that is never given back.
    Check: what a running command costs: a thread, a connection.
    """
    processes = [box.spawn(["cat"], timeout=60) for _ in range(100)]
    try:
        for n, process in enumerate(processes):
            process.stdin.write(b"%d\n" % n)
        for n, process in enumerate(processes):
            assert process.stdout.readline() == b"%d\n" % n
    finally:
        for process in processes:
            process.kill()
    assert {process.wait(DEADLINE).signal for process in processes} == {"SIGKILL"}


def test_first_use_from_many_threads(new_box: NewBox) -> None:
    """Threads that use a new sandbox at the same time get one connection's worth of order.

    Why: two threads that both find no connection make two, and one of them leaks.
    Check: the lock around the first connection.
    """
    box = new_box()
    barrier = threading.Barrier(8)

    def one(number: int) -> bytes:
        barrier.wait(DEADLINE)
        return box.exec(["echo", str(number)], timeout=DEADLINE).stdout

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(one, range(8))) == [b"%d\n" % n for n in range(8)]


def test_sandboxes_are_apart(new_box: NewBox) -> None:
    """Two sandboxes share no files in their workdirs.

    Why: a fixed host directory behind the workdir makes one sandbox read another's secrets.
    Check: what is mounted at the workdir.
    """
    one, other = new_box(), new_box()
    one.write_text("mine", "one")
    assert not other.exists("mine")
    other.write_text("mine", "other")
    assert (one.read_text("mine"), other.read_text("mine")) == ("one", "other")


def test_forked_child_has_no_say(new_box: NewBox) -> None:
    """A forked child that ends does not end its parent's sandbox.

    Why: finalizers and exit handlers run in the child too; multiprocessing has removed many a container.
    Check: that the owner's pid is compared before anything is removed.
    """
    box = new_box()
    child = os.fork()
    if child == 0:
        try:
            box.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert box.exec(["echo", "alive"], timeout=DEADLINE).stdout == b"alive\n"


def test_forked_child_can_use_it(new_box: NewBox) -> None:
    """A forked child can use its parent's sandbox without disturbing it.

    Why: both would read one socket and take each other's answers: hangs that come and go.
    Check: that a child opens a connection of its own.
    """
    box = new_box()
    box.write_text("from", "parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            seen = box.read_text("from")
            box.write_text("back", f"child saw {seen}")
            code = 0
        finally:
            os._exit(code)
    for n in range(20):
        assert box.exec(["echo", str(n)], timeout=DEADLINE).stdout == b"%d\n" % n
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child could not use the sandbox"
    assert box.read_text("back") == "child saw parent"
