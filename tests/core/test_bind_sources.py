"""Bind mounts' sources: a link that a sandbox could have made is refused, other links are followed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from samebox import SandboxConfig
from samebox.engine.bind_sources import check_sources
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with a directory, links to it, and a link to a link."""
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "chain").symlink_to("link")
    (tmp_path / "round").symlink_to("round")
    return tmp_path


def config(source: Path, options: str = "ro") -> SandboxConfig:
    """Return a config with one bind mount."""
    return SandboxConfig(mounts=[f"{source}:/mnt:{options}"])


@pytest.mark.parametrize("name", ["link", "link/below", "absolute/below", "chain", "round"])
def test_link(project: Path, name: str) -> None:
    """The error names the link, where it leads, and both ways out."""
    source = f"{project}/{name}"
    link = source.removesuffix("/below")
    with pytest.raises(ConfigError) as caught:
        check_sources(config(project / name))
    assert str(caught.value) == (
        f"wrong config: mounts: the source {source!r} goes through the link {link!r}, which a sandbox could have "
        f"made; give its real path, {os.path.realpath(source)!r}, or follow_links=True (the option 'follow') if you "
        "trust it"
    )


@pytest.mark.parametrize("name", ["real", "real/below", "none", "real/none"])
def test_no_link(project: Path, name: str) -> None:
    """A path without links is taken, and what is missing is for the engine to tell."""
    check_sources(config(project / name))


def test_follow(project: Path) -> None:
    """The caller can ask for a link to be followed."""
    check_sources(config(project / "chain", "ro,follow"))


def test_link_in_a_directory_of_another(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that this user could not have made is followed, and those that it leads to are looked at too."""
    (project / "system").mkdir()
    (project / "system" / "home").symlink_to(project / "real")
    (project / "system" / "bad").symlink_to(project / "link")
    (project / "system" / "round").symlink_to("round")
    (project / "system" / "up").symlink_to("../system/home")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != project / "system" and access(path, mode))
    check_sources(config(project / "system" / "home" / "below"))
    check_sources(config(project / "system" / "round"))
    check_sources(config(project / "system" / "up" / "below"))
    with pytest.raises(ConfigError, match=f"goes through the link '{project}/link'"):
        check_sources(config(project / "system" / "bad" / "below"))


def test_volumes_are_no_paths() -> None:
    """A named volume has no source on the host."""
    check_sources(SandboxConfig(mounts=["volume:/mnt"]))
