"""`samebox engines`: the engines, whether each is usable on this host, and what the host lacks."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from samebox.cli.console import out
from samebox.config.model import SandboxConfig
from samebox.engine.registry import registry
from samebox.engine.requirements import hardening_lacking
from samebox.engine.selection import select
from samebox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class _Row:
    """One engine, or a plugin that could not be loaded, as the command shows it."""

    name: str
    distribution: str
    usable: bool
    reason: str = ""
    version: str = ""
    address: str = ""
    rootless: bool = False
    isolation: str = ""
    stronger: dict[str, str] = field(default_factory=dict)
    """The tier, or why it can't be had, by the options that give a stronger one."""
    capabilities: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    unenforced: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)


def engines(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    image: Annotated[str | None, typer.Option(help="Tell which engine would be taken for this image.")] = None,
) -> None:
    """List the engines: usable or why not, version, rootless, isolation tier, what this host lacks."""
    rows = [_row(name) for name in sorted(registry().engines)]
    rows += [
        _Row(
            failure.source.name,
            f"{failure.source.distribution} {failure.source.version}",
            usable=False,
            reason=failure.error,
        )
        for failure in registry().failures
    ]
    taken, why = _taken(image)
    if as_json:
        typer.echo(json.dumps({"engines": [vars(row) for row in rows], "taken": taken, "why": why}, indent=2))
        return
    table = Table("engine", "usable", "version", "rootless", "isolation", "lacks here", box=None, pad_edge=False)
    for row in rows:
        lacks = "\n".join(f"{name}: {reason}" for name, reason in {**row.missing, **row.unenforced}.items())
        usable = "yes" if row.usable else f"no: {row.reason}"
        rootless = ("yes" if row.rootless else "no") if row.usable else ""
        tiers = "\n".join([row.isolation, *(f"{tier} with {options}" for options, tier in row.stronger.items())])
        table.add_row(row.name, usable, row.version, rootless, tiers, lacks)
    out.print(table)
    out.print(f"\n{taken or 'none'} would be taken: {why}", markup=False)


def _row(name: str) -> _Row:
    source = registry().sources[name]
    distribution = f"{source.distribution} {source.version}"
    with closing(registry().get(name)()) as engine:
        try:
            info = engine.probe()
            stronger = {_words(options): _tier(name, options) for options in engine.stronger()}
        except SandboxError as error:
            return _Row(name, distribution, usable=False, reason=str(error))
    return _Row(
        name,
        distribution,
        usable=True,
        version=info.version,
        address=info.address,
        rootless=info.rootless,
        isolation=info.isolation.value,
        stronger=stronger,
        capabilities=sorted(engine.capabilities - set(info.missing)),
        missing={capability.value: reason for capability, reason in info.missing.items()},
        unenforced={
            capability.value: reason
            for capability, reason in hardening_lacking(SandboxConfig(), engine, info).items()
            if capability not in info.missing
        },
        details=dict(info.details),
    )


def _words(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def _tier(name: str, options: Mapping[str, Any]) -> str:
    with closing(registry().get(name)(options)) as engine:
        try:
            return engine.probe().isolation.value
        except SandboxError as error:
            return f"nothing ({error})"


def _taken(image: str | None) -> tuple[str | None, str]:
    """Return the engine that would be taken for an image, or None, and why."""
    settings: dict[str, Any] = {"image": image} if image is not None else {}
    try:
        selection = select(SandboxConfig(**settings))
    except SandboxError as error:
        return None, str(error)
    selection.engine.close()
    what = f"image {image}" if image is not None else "a config without an image"
    return selection.engine.name, f"the first usable engine that can honour {what}"
