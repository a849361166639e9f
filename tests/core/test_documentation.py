"""What the documentation has to keep up with."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from samebox.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs/command-line.md").read_text(encoding="utf-8")
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
