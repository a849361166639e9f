"""The engines that these tests break, and the table of what was seen, which becomes docs/reliability.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fault_bed import FaultBed, Service, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES = {
    "dockerd": ("docker", "SAMEBOX_TEST_DOCKER_URL"),
    "podman": ("podman", "SAMEBOX_TEST_PODMAN_URL"),
    "podman-rootless": ("podman", "SAMEBOX_TEST_PODMAN_ROOTLESS_URL"),
}


@pytest.fixture(scope="session")
def bed() -> Iterator[FaultBed]:
    """A test bed beside the ordinary one."""
    made = FaultBed()
    made.up()
    yield made
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


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """The table, written to SAMEBOX_FAULTS_TABLE at the end."""
    made = Table()
    yield made
    if path := os.environ.get("SAMEBOX_FAULTS_TABLE"):
        made.write(Path(path))
