"""What is said of a container engine's service and its sandboxes, as far as no engine is needed."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from samebox.config.build import Runtime
from samebox.config.model import SandboxConfig
from samebox.config.ports import HostPort
from samebox.engine import SandboxStatus
from samebox.engine.oci import sandboxes
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import image_label, inspected_status, published_port
from samebox.engine.oci.unreachable import Remedies, causes, explain
from samebox.errors import EngineError, SandboxGoneError, SandboxNotFoundError

ENGINE = "Fake at fake://"
REMEDIES = Remedies("Start it.", "Be another.", "Correct it.", service="daemon")


@pytest.mark.parametrize(
    ("error", "found", "remedy"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), "there is no socket /s", "Start it."),
        (ConnectionRefusedError(), "/s is there, but nothing listens on it", "Start it."),
        (NotADirectoryError(errno.ENOTDIR, "x"), "/s is no socket", "Correct it."),
        (PermissionError(errno.EACCES, "x"), "may not open /s", "Be another."),
        (TimeoutError(), "there was no answer in time", "See whether the daemon is overloaded"),
        (OSError(errno.EPIPE, "Broken pipe"), "the connection broke: [Errno 32] Broken pipe", "read its log."),
    ],
)
def test_unreachable_socket(error: OSError, found: str, remedy: str) -> None:
    """The innermost cause counts, however it is wrapped."""
    said, todo = explain(RuntimeError("outer", ValueError(error)), "/s", REMEDIES)
    assert found in said
    assert remedy in todo


def test_unreachable_host() -> None:
    """A name that is unknown, and a port that nothing listens on."""
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert explain(unknown, None, REMEDIES) == ("the host name is not known (Name or service not known)", "Correct it.")
    expected = ("nothing listens there (connection refused)", "Start it.")
    assert explain(ConnectionRefusedError(), None, REMEDIES) == expected


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files(number: int) -> None:
    """It is this process's own matter, whatever the library has wrapped around it."""
    outer = ConnectionError("aborted")
    outer.__cause__ = OSError(number, "Too many open files")
    found, remedy = explain(outer, "/run/x.sock", REMEDIES)
    assert "may open no more files" in found
    assert "ulimit -n" in remedy


def test_causes_in_a_circle() -> None:
    """Each is told once."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first
    assert list(causes(first)) == [second, first]


@pytest.mark.parametrize(
    ("status", "words", "no_container", "name_taken"),
    [
        (404, "No such container: x", True, False),
        (404, "no such image", False, False),
        (500, "no such container", False, False),
        (500, "container 1f does not exist in database: no such container", True, False),
        (500, "container 1f is not valid: container has already been removed", True, False),
        (409, "Conflict.", False, True),
        (500, 'the container name "x" is already in use by y', False, True),
        (500, "container already exists", False, True),
    ],
)
def test_refusals(status: int, words: str, no_container: bool, name_taken: bool) -> None:  # noqa: FBT001
    """Docker tells by a status what Podman tells in words."""
    error = RefusedError("refused", status, words)
    assert (error.no_container, error.name_taken) == (no_container, name_taken)


def test_about() -> None:
    """What is refused is about a sandbox."""
    with (
        pytest.raises(SandboxNotFoundError, match=r"^there is no sandbox 'box' on Fake at fake://$"),
        sandboxes.about(ENGINE, "start", "box"),
    ):
        raise RefusedError("refused", 404, "no such container")
    with (
        pytest.raises(EngineError, match=r"^Fake at fake:// could not start the sandbox 'box': why$"),
        sandboxes.about(ENGINE, "start", "box"),
    ):
        raise RefusedError("refused", 500, "why")


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (
            SandboxStatus("1", "box", "created"),
            SandboxGoneError,
            "'box' on Fake at fake:// is gone: it was never started",
        ),
        (
            SandboxStatus("1", "box", "stopped", exit_code=3),
            SandboxGoneError,
            "is gone: it was stopped with exit code 3",
        ),
        (SandboxStatus("1", "box", "running"), EngineError, "could not open a stream into the sandbox 'box': why"),
        (None, SandboxGoneError, "the sandbox '1' is gone from Fake at fake://: it was removed"),
    ],
)
def test_unconnected(status: SandboxStatus | None, error: type[Exception], said: str) -> None:
    """Whether the sandbox is gone decides what is said."""

    def inspect(sandbox_id: str) -> SandboxStatus:
        if status is None:
            raise sandboxes.not_found(ENGINE, sandbox_id)
        return status

    found = sandboxes.unconnected(ENGINE, "1", "why", inspect)
    assert type(found) is error
    assert said in str(found)


def container(word: str, **more: Any) -> dict[str, Any]:
    """Return an answer of inspect."""
    return {
        "Id": "1",
        "Name": "/box",
        "Created": "2026-01-01T00:00:00.123456789Z",
        "State": {"Status": word, "ExitCode": 137, "OOMKilled": True},
        "Config": {"Labels": {"samebox.image": "busybox"}, "Image": "sha256:0"},
        **more,
    }


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("created", "created"),
        ("initialized", "created"),
        ("running", "running"),
        ("paused", "running"),
        ("exited", "stopped"),
        ("dead", "stopped"),
        ("a new word", "stopped"),
    ],
)
def test_status(word: str, state: str) -> None:
    """An exit code is told of what has ended alone."""
    status = inspected_status(container(word))
    assert (status.state, status.name, status.image) == (state, "box", "busybox")
    assert (status.exit_code, status.out_of_memory) == ((137, True) if state == "stopped" else (None, False))
    assert status.created == pytest.approx(1767225600.123456)


def test_an_end_for_memory_is_the_first_processs() -> None:
    """Docker says it of a container one of whose commands was killed, and which ended in good order later."""
    found = container("exited", State={"Status": "exited", "ExitCode": 0, "OOMKilled": True})
    assert not inspected_status(found).out_of_memory


def test_image_label() -> None:
    """As the config names it; what was built has no name but its id."""
    built = SandboxConfig(build=Runtime(name="x", base_image="y"))
    for config, expected in ((SandboxConfig(image="a:1"), "a:1"), (SandboxConfig(), "default"), (built, "id")):
        assert image_label(config, "default", "id") == {"samebox.image": expected}


def test_published_port() -> None:
    """Where it is bound, and why it is nowhere."""
    host = {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}}
    network = {"Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4000"}], "9/tcp": None}}
    running = container("running", HostConfig=host, NetworkSettings=network)
    assert published_port(running, "box", "80/tcp") == HostPort(address="127.0.0.1", port=4000)
    with pytest.raises(EngineError, match="port 9/tcp of the sandbox 'box' is not published; published are: 80/tcp"):
        published_port(running, "box", "9/tcp")
    stopped = container("exited", HostConfig=host, NetworkSettings={"Ports": {}})
    with pytest.raises(EngineError, match="is not open: the sandbox does not run"):
        published_port(stopped, "box", "80/tcp")
    with pytest.raises(EngineError, match="published are: none"):
        published_port(container("running"), "box", "80/tcp")
