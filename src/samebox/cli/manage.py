"""`samebox ps`, `samebox rm`, `samebox prune`: the sandboxes that are there, and their removal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from samebox.cli.console import err, failures, out
from samebox.inventory import Inventory

_Engines = Annotated[list[str], typer.Option("--engine", help="Only this engine; may be repeated.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def ps(engine: _Engines = [], as_json: _Json = False) -> None:  # noqa: B006 - typer copies it
    """List the sandboxes on every engine, with the process that each belongs to."""
    with failures(), Inventory(engine) as inventory:
        found = inventory.sandboxes()
        unreachable = inventory.unreachable
    if as_json:
        typer.echo(
            json.dumps({"sandboxes": [entry.as_dict() for entry in found], "unreachable": unreachable}, indent=2)
        )
        return
    table = Table("engine", "name", "state", "created", "owner", "kept", box=None, pad_edge=False)
    for entry in found:
        created = (
            datetime.fromtimestamp(entry.status.created, UTC).isoformat(" ", "seconds") if entry.status.created else ""
        )
        table.add_row(
            entry.engine, entry.status.name, entry.status.state, created, entry.owner_text, "yes" if entry.kept else ""
        )
    out.print(table)
    for line in unreachable.values():
        err.print(f"samebox: {line}", markup=False)


def rm(
    names: Annotated[list[str], typer.Argument(help="Names or ids.")],
    engine: _Engines = [],  # noqa: B006
) -> None:
    """Remove sandboxes by name; only those that samebox made."""
    with failures(), Inventory(engine) as inventory:
        for name in names:
            inventory.remove(name)
            typer.echo(name)


def prune(engine: _Engines = [], as_json: _Json = False) -> None:  # noqa: B006
    """Remove what an owner that is dead has left; what was to be kept stays."""
    with failures(), Inventory(engine) as inventory:
        removed = inventory.prune()
    if as_json:
        typer.echo(json.dumps({"removed": [entry.as_dict() for entry in removed]}, indent=2))
        return
    for entry in removed:
        typer.echo(f"{entry.engine} {entry.status.name}")
