"""The engines that these tests break, and the table of what was seen, which becomes docs/reliability.md."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fault_bed import FaultBed, Service, Table
from footprint import Footprint
from samebox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

_warm: set[Service] = set()
"""The engines that this process has used: from the first use on it holds an idle connection and a thread or two."""
SERVICES = {
    "dockerd": ("docker", "SAMEBOX_TEST_DOCKER_URL"),
    "podman": ("podman", "SAMEBOX_TEST_PODMAN_URL"),
    "podman-rootless": ("podman", "SAMEBOX_TEST_PODMAN_ROOTLESS_URL"),
}


@pytest.fixture(scope="session")
def bed() -> Iterator[FaultBed]:
    """A test bed beside the ordinary one; left running if it ran before."""
    made = FaultBed()
    ran = all(made.daemon(name) is not None for name in SERVICES)
    made.up()
    yield made
    if not ran:
        made.down()


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, bed: FaultBed) -> Iterator[Service]:
    """Each service in turn, up before the test and after it."""
    name = request.param
    engine, variable = SERVICES[name]
    if bed.daemon(name) is None:
        bed.up()
    yield Service(name, engine, variable, bed)
    bed.up()


@pytest.fixture(params=[*SERVICES, "bubblewrap"])
def engine(request: pytest.FixtureRequest, bed: FaultBed) -> Service:
    """Each engine in turn, those with a service and bubblewrap; the test leaves the service alone."""
    engine, variable = SERVICES.get(request.param, ("bubblewrap", ""))
    return Service(request.param, engine, variable, bed)


@pytest.fixture
def footprint(engine: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Footprint]:
    """What is held before the test, after a first sandbox; fails after a test that leaves more."""
    directory = tmp_path / "tmp"
    directory.mkdir(mode=0o1777)
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", None)
    if engine not in _warm:
        with Sandbox(**engine.settings()) as box:
            box.exec(["true"], timeout=20)
        _warm.add(engine)
    made = Footprint(engine, directory)
    yield made
    assert made.left() == []


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """The table, written to SAMEBOX_FAULTS_TABLE at the end."""
    made = Table()
    yield made
    if path := os.environ.get("SAMEBOX_FAULTS_TABLE"):
        made.write(Path(path))
