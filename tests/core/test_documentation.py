"""What the documentation has to keep up with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from samebox.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_told_of(name: str) -> None:
    """In a heading of the page on the command line, and each command of a group below it."""
    headings = [line for line in PAGE.splitlines() if line.startswith("## samebox ")]

    assert any(name in line.removeprefix("## samebox ").split(", ") for line in headings), headings
    for below in getattr(COMMANDS[name], "commands", {}):
        assert f"samebox {name} {below}" in PAGE


def test_no_command_is_told_of_that_is_not_there() -> None:
    """A page must not promise more than there is."""
    told = {name for line in PAGE.splitlines() if line.startswith("## ") for name in line[11:].split(", ")}

    assert told == set(COMMANDS)


def layers() -> list[str]:
    """The rooms of the core from the top, as import-linter keeps them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    rooms: list[str] = next(contract["layers"] for contract in contracts if contract.get("containers") == ["samebox"])
    return [name for line in rooms for name in line.split(" | ")]


def test_the_architecture_shows_every_room_in_its_order() -> None:
    """A picture of yesterday's rooms misleads more than none."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    picture = (ROOT / "docs/architecture.svg").read_text(encoding="utf-8")
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| [`"))
    names = re.findall(r"`([a-z/]+)`", rows)

    assert [name for name in names if "/" not in name][: len(layers())] == layers()
    shown = [name for text in re.findall(r'class="name"[^>]*>([^<]+)<', picture) for name in text.split(", ")]
    assert [name for name in shown if name in layers()] == layers()


def test_the_architecture_names_files_that_are_there() -> None:
    """Each step of the walks is to be followed in the code."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    links = re.findall(r"\[`([^`]+)`\]\(([^)]+)\)", page)

    assert len(links) > 40
    for text, target in links:
        path = ROOT / "docs" / target
        assert path.is_file(), target
        assert text in target or path.name == "__init__.py", (text, target)
