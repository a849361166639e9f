"""Versions of engines beside one another: what tells them apart, and what is said of a version that there is not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from testbed.editions import EDITIONS, parse_editions
from testbed.failure import TestbedError
from testbed.layout import Layout
from testbed.suite import Package, unpack

LAYOUT = Layout(
    state=Path("/var/lib/samebox-testbed"), run=Path("/run/samebox-testbed"), user="samebox-test", suffix=""
)


def test_words_name_editions_once() -> None:
    """With a version, or without one for the first of its kind."""
    found = parse_editions(["docker=28", "docker-rootless", "podman=5.8", "docker=28"])

    assert [edition.name for edition in found] == ["docker=28", "docker-rootless=28", "podman=5.8"]


def test_unknown_version_names_those_that_there_are() -> None:
    """And none of the others is made."""
    with pytest.raises(TestbedError, match=r"find the version docker=27: there is none\. There are: .*docker=28, .*"):
        parse_editions(["docker=28", "docker=27"])


def test_beds_have_nothing_in_common() -> None:
    """Neither names that are the whole machine's, nor directories; and the names of interfaces fit into 15 bytes."""
    layouts = [LAYOUT, *(LAYOUT.edition(edition.name) for edition in EDITIONS)]

    for kind in (
        "state",
        "run",
        "user",
        "docker_bridge",
        "podman_bridge",
        "podman_network",
        "firewall_table",
        "docker_chains",
    ):
        assert len({getattr(layout, kind) for layout in layouts}) == len(layouts), kind
    # Each bed takes two in a row.
    subnets = sorted(layout.first_subnet for layout in layouts)
    assert all(after - before >= 2 for before, after in pairwise(subnets)), subnets
    assert all(len(layout.podman_bridge) <= 15 for layout in layouts)
    # A chain's name has at most 28 bytes.
    assert all(len(f"{layout.docker_chains}-ISOLATION-STAGE-1") <= 28 for layout in layouts)
    # A socket's path has at most 107 bytes.
    assert all(len(f"{layout.run}/user/docker/containerd/containerd-debug.sock") < 108 for layout in layouts)
    assert not any(layout.state.is_relative_to(LAYOUT.state) for layout in layouts[1:])


def test_broken_package_is_an_error(tmp_path: Path) -> None:
    """Although the program at the end of the pipe is content."""
    (tmp_path / "broken.deb").write_bytes(b"no archive")

    with pytest.raises(TestbedError, match=r"broken\.deb.*exit code \d+: (?s:.)*dpkg-deb"):
        unpack([Package("broken", "1", tmp_path / "broken.deb", "")], tmp_path / "root")
