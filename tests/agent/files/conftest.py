"""Agents to call in the tests of the file operations: as root and as a user, with and without the newer system calls.

`SAMEBOX_TEST_AGENT` names another binary than the one that is built with ASan and UBSan.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fileclient import NEW_CALLS, USER, Caller, deny, directory_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def binary(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The agent with sanitizers, or the one that `SAMEBOX_TEST_AGENT` names, where every user can execute it."""
    source = os.environ.get("SAMEBOX_TEST_AGENT") or request.getfixturevalue("agent_program")
    with tempfile.TemporaryDirectory(prefix="samebox-agent-") as name:
        Path(name).chmod(0o755)
        binary = Path(name) / "agent"
        shutil.copy(source, binary)
        binary.chmod(0o755)
        yield binary


@pytest.fixture(params=["root", "user"])
def uid(request: pytest.FixtureRequest) -> int | None:
    """Who the agent runs as: root, and a user, as far as we may choose."""
    if os.geteuid() == 0:
        return USER if request.param == "user" else None
    if request.param == "root":
        pytest.skip("needs root")
    return None


@pytest.fixture
def workdir(uid: int | None) -> Iterator[Path]:
    """An empty directory that belongs to the agent's user."""
    with directory_for(uid) as directory:
        yield directory


@pytest.fixture
def agent(binary: Path, workdir: Path, uid: int | None) -> Iterator[Caller]:
    """An agent in an empty workdir, as root and as a user."""
    agent = Caller(binary, workdir, uid)
    yield agent
    agent.end()


@pytest.fixture(params=["all calls", "ENOSYS", "EPERM"])
def confined(request: pytest.FixtureRequest, binary: Path, workdir: Path, uid: int | None) -> Iterator[Caller]:
    """As `agent`, also where openat2 and other new system calls are refused."""
    number = {"all calls": 0, "ENOSYS": errno.ENOSYS, "EPERM": errno.EPERM}[request.param]
    agent = Caller(binary, workdir, uid, (lambda: deny(number, *NEW_CALLS)) if number else None)
    yield agent
    agent.end()
