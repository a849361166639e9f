"""The link to a service, cut after any byte, stalled and slow."""

from __future__ import annotations

import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from proxy import Proxy
from samebox import Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fault_bed import Service, Table

pytestmark = pytest.mark.timeout(240)

DEADLINE = 8.0
"""The timeout of what has one, in seconds."""
PROMISED = "a result or a SandboxError in time; the next call works"


@pytest.fixture
def link(service: Service) -> Iterator[Proxy]:
    """A proxy before the service."""
    with TemporaryDirectory(prefix="sbx") as name:
        url = service.settings()["options"]["url"]
        with Proxy(Path(name) / "s", url.removeprefix("unix://")) as proxy:
            yield proxy


def behind(link: Proxy, service: Service) -> dict[str, Any]:
    """Return the settings of a sandbox on the service behind the proxy."""
    return service.settings() | {"options": {"url": link.url}}


def test_cut_in_a_command(link: Proxy, service: Service, table: Table) -> None:
    """After any byte of a command's answer: the call ends in time, and the next one gets a new connection."""
    generator = random.Random(1)  # noqa: S311 - where to cut
    seen: dict[str, int] = {}
    with Sandbox(**behind(link, service)) as box:
        for count in [*range(1, 120), *range(120, 400, 7), *(generator.randrange(400, 200_000) for _ in range(20))]:
            link.cut_after(count)
            began = time.monotonic()
            try:
                size = len(box.exec(["head", "-c", "100000", "/dev/zero"], timeout=DEADLINE).stdout)
                outcome = "a result" if size == 100_000 else f"{size} bytes"
            except SandboxError as error:
                outcome = type(error).__name__
            assert time.monotonic() - began < DEADLINE + 5, (count, outcome)
            seen[outcome] = seen.get(outcome, 0) + 1
            link.cut_after(None)
            assert box.exec(["echo", "on"], timeout=DEADLINE).text == "on\n", count
    assert seen.keys() <= {"a result", "ConnectionLostError"}, seen
    table.add("link cut after any byte of a command", PROMISED, service.name, ", ".join(sorted(seen)))


def test_cut_in_a_start(link: Proxy, service: Service, table: Table) -> None:
    """After any byte of a start's answers: the start ends in time, and a later one works; nothing is left."""
    generator = random.Random(2)  # noqa: S311
    seen = set()
    for count in (1, 20, 100, 300, *(generator.randrange(400, 40_000) for _ in range(12))):
        link.cut_after(count)
        began = time.monotonic()
        try:
            Sandbox(**behind(link, service)).start().close()
            outcome = "a result"
        except SandboxError as error:
            outcome = type(error).__name__
        assert time.monotonic() - began < 30, (count, outcome)
        seen.add(outcome)
        link.cut_after(None)
        with Sandbox(**behind(link, service)) as box:
            assert box.exec(["echo", "on"], timeout=DEADLINE).text == "on\n", count
    table.add("link cut after any byte of a start", PROMISED, service.name, ", ".join(sorted(seen)))


def test_stalled(link: Proxy, service: Service, table: Table) -> None:
    """A link on which nothing comes any more, and which is not closed, holds no call beyond its timeout."""
    with Sandbox(**behind(link, service)) as box:
        box.exec(["true"], timeout=DEADLINE)
        link.stall(stalled=True)
        began = time.monotonic()
        with pytest.raises(SandboxError) as caught:
            box.exec(["sleep", "1"], timeout=2)
        assert time.monotonic() - began < 2 + 5 + 1
        began = time.monotonic()
        with pytest.raises(SandboxError):
            box.read_bytes("/etc/passwd")
        assert time.monotonic() - began < 30
        link.stall(stalled=False)
        link.cut()
        assert box.exec(["echo", "on"], timeout=DEADLINE).text == "on\n"
    table.add("link stalled", PROMISED, service.name, type(caught.value).__name__)


def test_slow(link: Proxy, service: Service, table: Table) -> None:
    """A link that takes a fifth of a second for each part of an answer is slow, and nothing else."""
    with Sandbox(**behind(link, service)) as box:
        link.delay = 0.2
        assert box.exec(["head", "-c", "1000000", "/dev/zero"], timeout=60).stdout == bytes(1_000_000)
        box.write_bytes("file", bytes(1_000_000))
        assert box.read_bytes("file") == bytes(1_000_000)
        link.delay = 0.0
    table.add("link with a delay of 0.2 s", "the result", service.name, "a result")


def test_cut_for_good(link: Proxy, service: Service, table: Table) -> None:
    """Without any link a call fails at once, and the sandbox can be used again when the link is back."""
    with Sandbox(**behind(link, service)) as box:
        link.cut()
        link.cut_after(0, for_good=True)
        began = time.monotonic()
        with pytest.raises(SandboxError) as caught:
            box.exec(["true"], timeout=DEADLINE)
        assert time.monotonic() - began < DEADLINE + 5
        link.cut_after(None)
        box.exec(["true"], timeout=DEADLINE).check()
    table.add("link gone, then back", PROMISED, service.name, type(caught.value).__name__)
