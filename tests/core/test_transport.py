"""Who reads a connection: a thread that waits, the transport's thread, or nobody; and what interrupts them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from agent_peer import Peer
from samebox.agent import frames
from samebox.agent.frames import frame
from samebox.agent.output import Collector, Pipe
from samebox.engine import transport
from samebox.engine.watch import Watch
from samebox.errors import ConnectionLostError
from samebox.guest.operation import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox.agent.call import Call
    from samebox.engine.transport import Transport


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Transport:
    """A transport that no other test has used."""
    made = transport.Transport()
    monkeypatch.setattr(transport, "_current", made)
    return made


@pytest.fixture
def peer(fresh: Transport) -> Iterator[Peer]:
    """A connection after the first exchange."""
    del fresh
    made = Peer()
    made.greet()
    yield made
    made.close()


def begin(peer: Peer, **settings: Any) -> Call:
    """Begin an operation, and take its frame."""
    call = peer.connection.call(1, [("argv", b"x")], **settings)
    assert peer.frame()[:2] == (call.stream, frames.OPEN)
    return call


def soon(seconds: float, function: Callable[..., object], *arguments: object) -> threading.Timer:
    """Call something a bit later, from another thread."""
    timer = threading.Timer(seconds, function, arguments)
    timer.start()
    return timer


def settle(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_who_waits_reads_and_no_thread_is_started(peer: Peer, fresh: Transport) -> None:
    """A sync program has no thread of ours: waking it would be half of a small request's time."""
    call = begin(peer)
    soon(0.05, peer.end, call, 7)

    assert peer.result(call).number("exit_code") == 7
    assert fresh._thread is None


def test_an_event_loop_leaves_the_reading_to_the_transport(peer: Peer, fresh: Transport) -> None:
    """It has other things to do."""

    async def wait() -> int:
        return (await call.until(call.finished, 10)).number("exit_code")

    call = begin(peer)
    soon(0.05, peer.end, call, 7)

    assert asyncio.run(drive(wait())) == 7
    assert fresh._thread is not None


def test_what_others_wait_for_is_read_on_when_a_reader_is_done(peer: Peer) -> None:
    """The first thread to wait reads for all; the transport takes over, or the next that comes."""
    first, second = begin(peer), begin(peer)
    with ThreadPoolExecutor(2) as threads:
        reader = threads.submit(peer.result, first)
        settle(lambda: peer.connection._watch._reader is not None)
        follower = threads.submit(peer.result, second)
        time.sleep(0.05)
        peer.end(first, 1)
        assert reader.result(10).number("exit_code") == 1
        peer.end(second, 2)
        assert follower.result(10).number("exit_code") == 2


def test_what_nobody_waits_for_arrives_too(peer: Peer) -> None:
    """The output of a process is taken while its owner does something else."""
    pipe = Pipe()
    process = begin(peer, sinks={1: pipe})
    call = begin(peer)
    peer.end(call)
    peer.result(call)
    peer.socket.sendall(frame(frames.DATA, process.stream, b"\x01hello"))
    settle(lambda: bool(pipe._held))
    peer.end(process)
    settle(lambda: process.over)

    assert pipe.take()[0] == b"hello"


def test_any_number_of_threads_get_their_own_answers(peer: Peer) -> None:
    """Readers, followers and the transport change places all the time."""

    def answer() -> None:
        waiting: list[int] = []
        for _ in range(8 * 100):
            stream, _, _ = peer.frame()
            waiting.append(stream)
            if random.random() < 0.5:  # noqa: S311 - no secret
                random.shuffle(waiting)
                time.sleep(random.random() / 1000)  # noqa: S311
            code = waiting.pop()
            peer.socket.sendall(frame(frames.END, code, b"") if code % 2 else frame(frames.ERROR, code, b""))
            while len(waiting) > 4:
                peer.socket.sendall(frame(frames.END, waiting.pop(), b""))
        for stream in waiting:
            peer.socket.sendall(frame(frames.END, stream, b""))

    def ask() -> int:
        done = 0
        for _ in range(100):
            call = peer.connection.call(1, [("argv", b"x")])
            with contextlib.suppress(Exception):
                call.until(call.finished, 10).wait()
            done += call.over
        return done

    agent = threading.Thread(target=answer)
    agent.start()
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: ask(), range(8))) == 800
    agent.join()
    assert peer.connection.usable


def test_closing_ends_the_wait_of_the_thread_that_reads(peer: Peer) -> None:
    """And the descriptor is closed when that thread has left it, not while it may still read another's."""
    call = begin(peer)
    descriptor = peer.connection.fileno()
    assert descriptor is not None
    soon(0.1, peer.connection.close)
    began = time.monotonic()
    with pytest.raises(ConnectionLostError, match="was closed"):
        call.until(call.finished).wait()

    assert time.monotonic() - began < 5
    settle(lambda: peer.connection.fileno() == -1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_connection_leaves_no_descriptor_behind(fresh: Transport) -> None:
    """Neither the stream's nor the one that wakes its reader."""
    del fresh
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        made = Peer()
        made.greet()
        call = begin(made)
        made.end(call)
        made.result(call)
        made.close()

    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_connection_that_nobody_has_is_closed(peer: Peer) -> None:
    """As that of a sandbox which was never closed."""
    other = Peer()
    other.greet()
    del other.connection
    gc.collect()

    assert other.socket.recv(1) == b""
    other.socket.close()
    assert peer.connection.usable


def test_the_end_of_an_idle_connection_is_seen_before_the_next_call(peer: Peer) -> None:
    """So that the call can go to a new connection; nothing has been asked of the old one yet."""
    peer.socket.close()
    with pytest.raises(ConnectionLostError, match="ended"):
        peer.connection.call(1, [("argv", b"x")])
    assert not peer.connection.usable


def test_a_timeout_holds_while_others_are_flooded(peer: Peer) -> None:
    """A thread that reads for all has its own deadline still."""
    flooded = begin(peer, sinks={1: Collector(1000)})
    quiet = begin(peer)
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            peer.socket.sendall(frame(frames.DATA, flooded.stream, b"\x01" + bytes(10)))

    agent = threading.Thread(target=flood)
    agent.start()
    began = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            quiet.until(quiet.finished, 0.2).wait()
        assert 0.2 <= time.monotonic() - began < 5
    finally:
        peer.connection.keep_reading()
        over.set()
        agent.join()


class Flooded:
    """A channel that always has something to read, once it has."""

    expects = False

    def __init__(self, log: list[int], number: int) -> None:
        self._log, self._number = log, number
        self._descriptor, self._flood = os.pipe()

    def flood(self) -> None:
        """Have something from now on."""
        os.write(self._flood, b"x")

    def fileno(self) -> int:
        """See `Channel.fileno`."""
        return self._descriptor

    def readable(self) -> bool:
        """Read nothing, so that as much is left."""
        self._log.append(self._number)
        return True

    def writable(self) -> bool:
        """See `Channel.writable`."""
        return False

    def tend(self) -> float:
        """See `Channel.tend`."""
        return 1.0

    def closed(self) -> None:
        """See `Channel.closed`."""
        os.close(self._descriptor)
        os.close(self._flood)


def test_four_that_flood_slow_down_no_other(fresh: Transport) -> None:
    """Each channel is read once before any is read again, as often as a sandbox sends."""
    log: list[int] = []
    channels = [Flooded(log, number) for number in range(5)]
    watches = [Watch(fresh, channel) for channel in channels]
    for watch in watches:
        watch.keep_reading()
    for channel in channels[:4]:
        channel.flood()
    settle(lambda: len(log) > 100)
    channels[4].flood()
    settle(lambda: log.count(4) > 100)
    seen = log[log.index(4) :]
    for watch in watches:
        watch.remove()
    for start in range(len(seen) - 9):
        assert set(seen[start : start + 9]) == set(range(5)), seen[start : start + 9]


def test_a_timeout_may_be_longer_than_poll_can_count(peer: Peer) -> None:
    """poll(2) takes 24 days at most."""
    call = begin(peer)
    soon(0.05, peer.end, call, 7)

    assert call.until(call.finished, 1e8).wait().number("exit_code") == 7


def test_what_could_not_be_sent_goes_out_while_a_thread_reads(peer: Peer) -> None:
    """The transport writes, whoever reads."""
    call = begin(peer)
    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(peer.result, call)
        settle(lambda: peer.connection._watch._reader is not None)
        large = [peer.connection.call(1, [("argv", bytes(500_000))]) for _ in range(4)]
        assert [peer.frame()[0] for _ in large] == [call.stream for call in large]
        peer.end(call)
        reader.result(10)


def test_a_forked_child_is_told_that_an_answer_is_its_parents(peer: Peer) -> None:
    """It must neither read its parent's stream nor wait for ever."""
    call = begin(peer)
    child = os.fork()
    if child == 0:
        try:
            call.until(call.finished).wait()
        except ConnectionLostError as error:
            os._exit(0 if f"belongs to process {os.getppid()}, which forked this one" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    peer.end(call)
    assert peer.result(call)


def test_ctrl_c_ends_the_wait_and_loses_nothing(peer: Peer) -> None:
    """Python raises KeyboardInterrupt between any two instructions of the thread that reads; no frame may be lost."""
    sizes = [random.randrange(1, 5000) for _ in range(4000)]  # noqa: S311 - no secret
    collector = Collector(sum(sizes))
    call = begin(peer, sinks={1: collector}, window=1 << 30)
    armed, interrupts, over = False, 0, threading.Event()

    def agent() -> None:
        for size in sizes:
            peer.socket.sendall(frame(frames.DATA, call.stream, b"\x01" + bytes(size)))
        peer.end(call, 5)

    def interrupt() -> None:
        while not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(random.random() / 1000)  # noqa: S311

    def handler(_number: int, _frame: object) -> None:
        nonlocal armed, interrupts
        if armed:  # once for each wait, so that none is raised in the midst of this test itself
            armed = False
            interrupts += 1
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    threads = [threading.Thread(target=agent), threading.Thread(target=interrupt)]
    try:
        for thread in threads:
            thread.start()
        while not call.over:
            with contextlib.suppress(KeyboardInterrupt):
                armed = True
                call.until(call.finished, 60).wait()
                armed = False
    finally:
        armed = False
        over.set()
        for thread in threads:
            thread.join()
        signal.signal(signal.SIGINT, before)

    assert peer.connection.usable
    assert peer.result(call).number("exit_code") == 5
    assert len(collector.data) == sum(sizes)
    assert interrupts > 10


def test_the_handler_of_sigint_is_as_it_was(peer: Peer) -> None:
    """Also when it does not raise, and when it sets another one itself."""
    taken: list[int] = []

    def other(number: int, _frame: object) -> None:
        taken.append(-number)

    def handler(number: int, _frame: object) -> None:
        taken.append(number)
        if len(taken) == 2:
            signal.signal(signal.SIGINT, other)

    before = signal.signal(signal.SIGINT, handler)
    try:
        for expected in ([2], [2, 2], [2, 2, -2]):
            call = begin(peer)
            soon(0.05, os.kill, os.getpid(), signal.SIGINT)
            soon(0.1, peer.end, call)
            peer.result(call)
            assert taken == expected
            assert signal.getsignal(signal.SIGINT) is (handler if len(taken) < 2 else other)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signals_handler_can_call_samebox_while_its_thread_waits(peer: Peer) -> None:
    """As a SIGTERM handler that asks a sandbox to save something."""
    codes: list[int] = []

    def handler(_number: int, _frame: object) -> None:
        inner = begin(peer)
        soon(0.05, peer.end, inner, 1)
        codes.append(peer.result(inner).number("exit_code"))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        outer = begin(peer)
        soon(0.05, os.kill, os.getpid(), signal.SIGUSR1)
        settled = soon(0.15, peer.end, outer, 2)
        codes.append(peer.result(outer).number("exit_code"))
        settled.join()
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert codes == [1, 2]


def test_an_answer_that_came_while_a_handler_waited_is_seen(peer: Peer) -> None:
    """The handler's wait reads what the wait beneath it is for."""
    codes: list[int] = []
    outer = begin(peer)

    def handler(_number: int, _frame: object) -> None:
        inner = begin(peer)
        peer.end(outer, 2)
        peer.end(inner, 1)
        codes.append(peer.result(inner).number("exit_code"))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        soon(0.05, os.kill, os.getpid(), signal.SIGUSR1)
        codes.append(outer.until(outer.finished, 10).wait().number("exit_code"))
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert codes == [1, 2]


class Interrupting:
    """A sink in whose midst something comes in between."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def receive(self, data: bytes) -> int:
        """Let it come."""
        self.action()
        return len(data)

    def finish(self, error: BaseException | None) -> None:
        """Nothing more comes."""


def test_what_interrupts_the_reading_itself_ends_the_connection(peer: Peer) -> None:
    """A frame may be lost then, and what follows would be misread; who exits anyway gets its own exception."""

    def leave() -> None:
        raise SystemExit(3)

    call = begin(peer, sinks={1: Interrupting(leave)})
    peer.socket.sendall(frame(frames.DATA, call.stream, b"\x01x"))
    with pytest.raises(SystemExit):
        peer.result(call)

    assert not peer.connection.usable
    with pytest.raises(ConnectionLostError, match="was being read when this thread was interrupted"):
        call.finished.result(10)


def test_waiting_in_the_midst_of_reading_is_an_error_and_no_deadlock(peer: Peer) -> None:
    """A finalizer or a handler that waits for an answer there would wait for itself."""
    never: Future[None] = Future()
    said: list[str] = []

    def wait() -> None:
        with pytest.raises(RuntimeError) as caught:
            call.until(never).wait()
        said.append(str(caught.value))

    call = begin(peer, sinks={1: Interrupting(wait)})
    peer.socket.sendall(frame(frames.DATA, call.stream, b"\x01x"))
    peer.end(call)
    peer.result(call)

    assert said == ["this thread was interrupted while it read the answers that it is now to wait for"]


FULL = r"Too many open files.*; close files and sandboxes that are not needed, or raise the limit \(`ulimit -n`\)"


@pytest.mark.parametrize("spare", [0, 1])
def test_no_descriptor_left_is_told(spare: int) -> None:
    """A process with too many open files is told so in words, wherever the last one was needed, and goes on later."""
    code = f"""
import os, resource, pytest
from samebox.engine.program import agent_program
from samebox.engine.transport import Transport
from samebox.errors import EngineError
program = agent_program()
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
taken = []
try:
    while True:
        taken.append(os.open("/", os.O_RDONLY))
except OSError:
    for _ in range({spare}):
        os.close(taken.pop())
calls = [Transport] if {spare} else [Transport, lambda: program.data, lambda: agent_program.__wrapped__()]
for call in calls:
    with pytest.raises(EngineError, match={FULL!r}):
        call()
while taken:
    os.close(taken.pop())
Transport()
assert program.data
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
