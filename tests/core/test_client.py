"""The agent's client against agents that lie, die, stall and flood."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

import pytest

from agent_peer import WELCOME, Peer
from forks import true_in_a_fork
from samebox.agent import client, frames
from samebox.agent.call import OperationFailedError
from samebox.agent.client import Connection
from samebox.agent.frames import frame
from samebox.agent.output import Collector, Pipe
from samebox.agent.records import encode_record
from samebox.engine import ByteStream, transport
from samebox.errors import ConnectionLostError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["waiter", "transport"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A connection after the first exchange, whose answers are read by who waits or by the transport's thread."""
    made = Peer(waits=request.param == "waiter")
    made.greet()
    yield made
    made.connection.close()
    made.socket.close()


def test_what_is_no_agent_is_quoted_with_the_engines_words() -> None:
    """A runtime's error on the stream is what the user has to see."""
    made = Peer(multiplexed=True)
    made.socket.sendall(b"\x02\0\0\0\0\0\0\x0cno such file" + b"\x01\0\0\0\0\0\0\x0cexec failed.")
    with pytest.raises(
        ProtocolError, match=r"it said b'exec failed.' \(agent in sandbox 'x' on fake\); the engine said: no such file"
    ):
        made.connection.hello([])
    made.socket.close()


def test_a_refusal_is_the_agents_own_error() -> None:
    """ERROR on stream 0 answers HELLO, as for a workdir that can't be."""
    made = Peer()
    made.socket.sendall(frame(frames.ERROR, 0, encode_record([("errno", 13), ("kind", "cwd"), ("message", "no")])))
    with pytest.raises(OperationFailedError, match="no"):
        made.connection.hello([])
    made.socket.close()


def test_calls_fail_when_the_connection_ends(peer: Peer) -> None:
    """Promptly, those under way and later ones."""
    call = peer.connection.call(1, [("argv", b"x")])
    peer.frame()
    peer.socket.close()

    with pytest.raises(ConnectionLostError, match=r"the connection to the agent in sandbox 'x' on fake ended"):
        peer.result(call)
    with pytest.raises(ConnectionLostError):
        peer.connection.call(1, [("argv", b"x")])
    assert not peer.connection.usable


def test_a_lying_agent_ends_its_own_connection_and_no_other(peer: Peer) -> None:
    """One hostile sandbox must not take the others with it: they share a thread."""
    other = Peer()
    other.greet()
    call = peer.connection.call(1, [("argv", b"x")])
    peer.socket.sendall(frame(frames.DATA, 77, b"\x01x"))
    with pytest.raises(ProtocolError, match="stream 77, which is not open"):
        peer.result(call)
    fine = other.connection.call(1, [("argv", b"x")])
    other.frame()
    other.socket.sendall(frame(frames.END, 1, encode_record([("exit_code", 0)])))

    assert other.result(fine).number("exit_code") == 0
    other.connection.close()
    other.socket.close()


def test_output_on_a_channel_that_the_operation_lacks_is_refused(peer: Peer) -> None:
    """A read has no stderr."""
    call = peer.connection.call(10, [("path", b"x")], {1: Collector(10)})
    peer.socket.sendall(frame(frames.DATA, 1, b"\x02x"))
    with pytest.raises(ProtocolError, match="channel 2, which this operation does not have"):
        peer.result(call)


def test_a_slow_reader_stops_its_own_stream_alone(peer: Peer) -> None:
    """The window of a pipe that nobody reads closes; another stream goes on."""
    pipe = Pipe()
    slow = peer.connection.call(1, [("argv", b"x")], {1: pipe})
    fast = peer.connection.call(1, [("argv", b"y")], {1: Collector(10)})
    peer.connection.keep_reading()
    for _ in range(frames.WINDOW // 65536):
        peer.socket.sendall(frame(frames.DATA, slow.stream, b"\x01" + bytes(65536)))
    peer.socket.sendall(frame(frames.END, fast.stream, encode_record([("exit_code", 3)])))

    assert peer.result(fast).number("exit_code") == 3
    assert not slow.over
    data, credit = pipe.take()
    assert (len(data or b""), credit) == (65536, 0)


def test_input_waits_for_credit_and_then_goes_on(peer: Peer) -> None:
    """Nothing beyond the window is sent, and the rest follows without the caller."""
    data = os.urandom(frames.WINDOW + 100_000)
    peer.connection.call(1, [("argv", b"x")], input=data)
    peer.connection.keep_reading()
    stream, kind, _ = peer.frame()
    assert kind == frames.OPEN
    got = b""
    while len(got) < frames.WINDOW:
        _, kind, payload = peer.frame()
        assert kind == frames.DATA
        got += payload[1:]
    assert len(got) == frames.WINDOW
    peer.socket.sendall(frame(frames.CREDIT, stream, b"\0" + (200_000).to_bytes(4, "big")))
    while True:
        _, kind, payload = peer.frame()
        if kind == frames.EOF:
            break
        got += payload[1:]

    assert got == data


def test_an_agent_that_reads_nothing_blocks_no_caller(peer: Peer) -> None:
    """Requests that the socket does not take are queued: an async caller is the event loop's own thread."""
    began = time.monotonic()
    calls = [peer.connection.call(1, [("argv", bytes(500_000))]) for _ in range(10)]
    assert time.monotonic() - began < 5
    for call in calls:
        assert peer.frame()[0] == call.stream


def test_a_cancelled_call_tells_the_agent_although_nobody_waits(peer: Peer) -> None:
    """Asyncio cancels the future first; the command must be ended all the same."""
    call = peer.connection.call(1, [("argv", b"x")])
    peer.frame()
    call.finished.cancel()
    call.cancel()
    assert peer.frame() == (call.stream, frames.CANCEL, b"")
    peer.socket.sendall(frame(frames.END, call.stream, encode_record([("exit_code", 143)])))
    again = peer.connection.call(1, [("argv", b"y")])
    assert peer.frame()[0] == again.stream
    assert peer.connection.usable


def test_a_forked_child_leaves_its_parents_connection_alone(peer: Peer) -> None:
    """The child sees that it is not its own, and the parent's goes on."""
    assert true_in_a_fork(lambda: not peer.connection.usable)
    call = peer.connection.call(1, [("argv", b"x")])
    peer.frame()
    peer.socket.sendall(frame(frames.END, call.stream, encode_record([("exit_code", 0)])))
    assert peer.result(call)


def test_a_forked_child_has_a_transport_of_its_own(peer: Peer) -> None:
    """Threads don't survive a fork: a shared selector would leave the child without answers."""
    del peer

    def greets() -> bool:
        Peer().greet()
        return True

    assert true_in_a_fork(greets)


class Messages(ByteStream):
    """A stream without a descriptor, as a websocket: messages in queues."""

    def __init__(self) -> None:
        self.incoming: queue.Queue[bytes] = queue.Queue()
        self.outgoing: queue.Queue[bytes] = queue.Queue()

    def fileno(self) -> None:
        """Return that there is none."""

    def recv(self, size: int) -> bytes:
        """Block until a message is there."""
        return self.incoming.get(timeout=10)

    def send(self, data: bytes | memoryview) -> int:
        """Take everything."""
        self.outgoing.put(bytes(data))
        return len(data)

    def close(self) -> None:
        """Wake the reader."""
        self.incoming.put(b"")


def test_a_stream_without_a_descriptor_works() -> None:
    """A remote engine's websocket brings blocking calls; the transport reads it from a thread of its own."""
    stream = Messages()
    connection = Connection(stream, "sandbox 'x' on remote")
    stream.incoming.put(WELCOME)
    connection.hello([])
    collector = Collector(100)
    call = connection.call(1, [("argv", b"x")], {1: collector})
    stream.incoming.put(frame(frames.DATA, 1, b"\x01hello") + frame(frames.END, 1, encode_record([("exit_code", 0)])))
    call.until(call.finished, 10).wait()

    assert collector.data == b"hello"
    assert [data[8] for data in (stream.outgoing.get(timeout=5), stream.outgoing.get(timeout=5))] == [
        frames.HELLO,
        frames.OPEN,
    ]
    connection.close()


def test_an_error_that_is_malformed_ends_the_call(peer: Peer) -> None:
    """The call was taken off the list before its answer was read, and nobody would have told it of the end."""
    call = peer.connection.call(1, [("argv", b"x")])
    peer.socket.sendall(frame(frames.ERROR, call.stream, encode_record([("errno", b"short")])))

    with pytest.raises(ProtocolError, match="no number 'errno'"):
        peer.result(call)
    assert not peer.connection.usable


def test_a_silent_agent_is_asked_and_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped by the code in its sandbox would hang its caller for ever."""
    monkeypatch.setattr(client, "QUIET", 0.2)
    monkeypatch.setattr(client, "PATIENCE", 0.3)
    monkeypatch.setattr(transport, "TICK", 0.1)
    call = peer.connection.call(1, [("argv", b"x")])
    assert peer.frame()[1] == frames.OPEN
    began = time.monotonic()

    with pytest.raises(ConnectionLostError, match=r"did not answer for 0.3 s when it was asked whether it is there"):
        peer.result(call)
    assert 0.5 <= time.monotonic() - began < 5
    assert peer.frame()[1] == frames.PING


def test_an_agent_that_answers_is_waited_for(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that says nothing for a day is no reason to give up its agent."""
    monkeypatch.setattr(client, "QUIET", 0.1)
    monkeypatch.setattr(client, "PATIENCE", 0.2)
    monkeypatch.setattr(transport, "TICK", 0.05)
    call = peer.connection.call(1, [("argv", b"x")])
    asked: list[int] = []

    def answer() -> None:
        while len(asked) < 4:
            stream, kind, payload = peer.frame()
            asked.append(kind)
            if kind == frames.PING:
                peer.socket.sendall(frame(frames.PONG, stream, payload))
        peer.end(call)

    threading.Thread(target=answer).start()
    assert peer.result(call).number("exit_code") == 0
    assert asked == [frames.OPEN, frames.PING, frames.PING, frames.PING]


def test_an_idle_agent_is_not_asked(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it, and a sandbox that is asked is not idle."""
    monkeypatch.setattr(client, "QUIET", 0.1)
    monkeypatch.setattr(transport, "TICK", 0.05)
    peer.connection.keep_reading()
    peer.socket.settimeout(0.5)

    with pytest.raises(TimeoutError):
        peer.frame()


def test_a_host_that_only_listens_says_something(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that hears nothing takes its host for dead, and a line a second needs no credit for a day."""
    monkeypatch.setattr(client, "QUIET", 0.3)
    monkeypatch.setattr(transport, "TICK", 0.05)
    call = peer.connection.call(1, [("argv", b"x")], {1: Pipe()})
    heard: list[int] = []

    def chat() -> None:
        peer.socket.settimeout(0.02)
        deadline = time.monotonic() + 20
        while heard.count(frames.PING) < 2 and time.monotonic() < deadline:
            peer.socket.sendall(frame(frames.DATA, call.stream, b"\x01line\n"))
            with contextlib.suppress(TimeoutError):
                stream, kind, payload = peer.frame()
                heard.append(kind)
                if kind == frames.PING:
                    peer.socket.sendall(frame(frames.PONG, stream, payload))
        peer.end(call)

    threading.Thread(target=chat).start()
    peer.result(call)
    assert heard.count(frames.PING) >= 2


def test_a_pong_is_read_though_no_call_is_under_way(peer: Peer) -> None:
    """The call that asked may have ended meanwhile; the connection is a good one."""
    call = peer.connection.call(1, [("argv", b"x")])
    peer.frame()
    peer.end(call)
    peer.result(call)
    asked = peer.connection.ask()
    stream, kind, payload = peer.frame()
    assert kind == frames.PING
    assert peer.connection.expects
    peer.socket.sendall(frame(frames.PONG, stream, payload))

    call.until(asked, 10).wait()
    assert not peer.connection.expects


def test_waiters_that_gave_up_are_forgotten(peer: Peer) -> None:
    """Polling with `wait(timeout)` for a day held two kilobytes for each poll."""
    call = peer.connection.call(1, [("argv", b"x")])
    for _ in range(50):
        with pytest.raises(TimeoutError):
            call.until(call.outcome(), 0.001).wait()
    assert len(call._waiters) <= 1
    waiter = call.outcome()
    peer.end(call)
    assert call.until(waiter, 10).wait().number("exit_code") == 0
    assert call.outcome().result(1).number("exit_code") == 0


def test_each_writer_of_one_input_is_woken(peer: Peer) -> None:
    """Two threads that write to one stdin both go on, and both learn of the end."""
    call = peer.connection.call(1, [("argv", b"x")])
    call.write(bytes(frames.WINDOW))
    rooms = [call.room(), call.room()]
    peer.connection.keep_reading()
    peer.socket.sendall(frame(frames.CREDIT, call.stream, b"\0" + (10).to_bytes(4, "big")))
    assert [room.result(10) for room in rooms] == [True, True]
    call.write(bytes(10))
    rooms = [call.room(), call.room()]
    peer.end(call)
    assert [room.result(10) for room in rooms] == [False, False]


def test_a_forked_child_sends_nothing_on_its_parents_connection(peer: Peer) -> None:
    """Leaving a block in the child killed the parent's command."""
    call = peer.connection.call(1, [("argv", b"x")])
    peer.frame()

    def leave() -> bool:
        call.cancel()
        return True

    assert true_in_a_fork(leave)
    peer.end(call)
    assert peer.result(call)
    peer.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        peer.frame()


class Stuck(Messages):
    """A stream without a descriptor whose other side takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def send(self, data: bytes | memoryview) -> int:
        """Block until the stream is closed, but for the first exchange."""
        if data[8] != frames.HELLO:
            self.released.wait(20)
            raise OSError
        return super().send(data)

    def close(self) -> None:
        """Let the sender go."""
        self.released.set()
        super().close()


def test_a_blocked_send_holds_up_nobody_else() -> None:
    """One sandbox whose stream takes nothing would hang the thread that serves all, and its own end."""
    stream = Stuck()
    connection = Connection(stream, "sandbox 'x' on remote")
    stream.incoming.put(WELCOME)
    connection.hello([])
    call = connection.call(1, [("argv", b"x")])
    time.sleep(0.1)
    began = time.monotonic()
    connection.tend()
    connection.close()

    assert time.monotonic() - began < 5
    with pytest.raises(ConnectionLostError):
        call.finished.result(5)
