"""The agent under test is compiled with sanitizers, and runs as a plain child process: no engine is needed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wire import Agent, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parents[2]


def make_directory() -> Iterator[Path]:
    """Make a directory that other users can enter; pytest's own can't be, and it closes them again whenever it runs."""
    with tempfile.TemporaryDirectory(prefix="samebox-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def agent_program() -> Iterator[Path]:
    """The agent, with AddressSanitizer and UndefinedBehaviorSanitizer; SAMEBOX_TEST_AGENT names another one."""
    if given := os.environ.get("SAMEBOX_TEST_AGENT"):
        yield Path(given)
        return
    for directory in make_directory():
        program = directory / "agent"
        builder = ROOT / "src" / "samebox" / "agent" / "build_agent.py"
        subprocess.run([sys.executable, str(builder), "--sanitize", str(program)], check=True)
        yield program


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory for one test."""
    yield from make_directory()


@pytest.fixture
def sanitized() -> Iterator[dict[str, str]]:
    """The environment for an agent; the test fails if a sanitizer reports anything, in whichever process."""
    for reports in make_directory():
        reports.chmod(0o777)
        yield environment(reports)
        found = [report.read_text() for report in reports.iterdir()]
        assert not found, "\n".join(found)


def environment(reports: Path) -> dict[str, str]:
    """Return the sanitizers' options."""
    log = f"log_path={reports}/report"
    return {
        **os.environ,
        # A worker or supervisor ends by _exit, which looks for no leaks; serve and init return from main.
        "ASAN_OPTIONS": f"{log}:detect_leaks=1:abort_on_error=0:exitcode=99:handle_segv=1",
        "UBSAN_OPTIONS": f"{log}:print_stacktrace=1",
        "LSAN_OPTIONS": log,
    }


@pytest.fixture
def start(agent_program: Path, sanitized: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents, which are ended with the test."""
    agents = []

    def start(
        *,
        greet: bool = True,
        leaks: bool = True,
        prefix: Sequence[str] = (),
        program: Path | str = agent_program,
        **options: Any,
    ) -> Agent:
        environment = {**sanitized, "ASAN_OPTIONS": f"{sanitized['ASAN_OPTIONS']}:detect_leaks={int(leaks)}"}
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [*prefix, program, "serve", str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=tmp_path,
                **options,
            )
        agent = Agent(process, Wire(ours))
        agents.append(agent)
        if greet:
            agent.wire.hello(workdir=str(tmp_path))
        return agent

    yield start
    for agent in agents:
        agent.wire.close()
        assert agent.process.wait(20) == 0


@pytest.fixture
def agent(start: Callable[..., Agent]) -> Agent:
    """An agent that has been greeted; its workdir is tmp_path."""
    return start()


@pytest.fixture
def wire(agent: Agent) -> Wire:
    """Its connection."""
    return agent.wire
