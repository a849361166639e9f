"""`samebox config`: the schema of a config, and the effective config with the origin of each value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from samebox.cli.console import failures, out
from samebox.config.model import SandboxConfig
from samebox.config.sources import load_config

config = typer.Typer(no_args_is_help=True, help="The settings: their schema, and what they are here.")


@config.command("schema")
def schema() -> None:
    """Print the JSON schema of a config."""
    typer.echo(json.dumps(SandboxConfig.model_json_schema(), indent=2))


@config.command("show")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    directory: Annotated[Path, typer.Option(help="Where samebox.toml and pyproject.toml are looked for.")] = Path(),
) -> None:
    """Print the effective config and the origin of each value; values of env are not shown."""
    with failures():
        loaded = load_config(directory)
    rows = {name: (_shown(name, loaded.config), loaded.origins[name]) for name in SandboxConfig.model_fields}
    if as_json:
        typer.echo(
            json.dumps({name: {"value": value, "origin": origin} for name, (value, origin) in rows.items()}, indent=2)
        )
        return
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for name, (value, origin) in rows.items():
        table.add_row(name, json.dumps(value), origin)
    out.print(table)


def _shown(name: str, loaded: SandboxConfig) -> object:
    """Return a setting's value for JSON, without the values of env."""
    if name == "env":
        return dict.fromkeys(loaded.env, "***")
    full = SandboxConfig.model_construct(_fields_set={name}, **{name: getattr(loaded, name)})
    return full.model_dump(mode="json")[name]
