"""The engine's options: a mistake is one error that names the option and what is accepted."""

from __future__ import annotations

import re

import pytest

from samebox.errors import ConfigError
from samebox_docker.engine import DockerEngine

ACCEPTED = "unix:///path, tcp://host:port or ssh://user@host:port"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"url": "npipe:////./pipe/docker_engine"},
            (
                "wrong options for engine 'docker': url = 'npipe:////./pipe/docker_engine': npipe:// is a pipe of "
                "Windows, "
                f"which samebox does not use; give {ACCEPTED}"
            ),
        ),
        (
            {"url": "/var/run/docker.sock"},
            f"wrong options for engine 'docker': url = '/var/run/docker.sock': a daemon's address is {ACCEPTED}",
        ),
        (
            {"url": "tcp://me:secret@host:2376"},
            (
                "wrong options for engine 'docker': url = 'tcp://me:***@host:2376': an address has no password in "
                "it; "
                "ssh uses keys, tcp uses tls_cert and tls_key"
            ),
        ),
        (
            {"url": "tcp://host"},
            (
                f"wrong options for engine 'docker': url = 'tcp://host': a daemon's address is {ACCEPTED}, with "
                f"nothing after "
                "the port"
            ),
        ),
        (
            {"url": "ssh://host/run/docker.sock"},
            (
                "wrong options for engine 'docker': url = 'ssh://host/run/docker.sock': a daemon's address is "
                f"{ACCEPTED}, with nothing after the port"
            ),
        ),
        (
            {"url": "tcp://host:port"},
            (
                "wrong options for engine 'docker': url = 'tcp://host:port': Port could not be cast to integer value "
                "as 'port'"
            ),
        ),
        (
            {"tls_ca": "/nowhere/ca.pem"},
            "wrong options for engine 'docker': tls_ca = '/nowhere/ca.pem': there is no such file",
        ),
        (
            {"url": "unix:///a.sock", "context": "far"},
            "wrong options for engine 'docker': context = 'far': url says which daemon already; give one of them",
        ),
        (
            {"tls_cert": __file__},
            "wrong options for engine 'docker': tls_key: tls_cert and tls_key belong together; give both",
        ),
        (
            {"runtime": "run sc"},
            (
                "wrong options for engine 'docker': runtime = 'run sc': String should match pattern "
                "'^[a-zA-Z0-9][a-zA-Z0-9_.-]*$'"
            ),
        ),
        (
            {"timeout": 0},
            "wrong options for engine 'docker': timeout = 0: Input should be greater than 0",
        ),
    ],
)
def test_wrong_options(options: dict[str, object], text: str) -> None:
    """A wrong option is refused before anything is contacted, and the text says what is accepted."""
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
        DockerEngine(options)


def test_unknown_option() -> None:
    """An option that does not exist is refused."""
    with pytest.raises(ConfigError, match="sockets"):
        DockerEngine({"sockets": "/var/run/docker.sock"})
