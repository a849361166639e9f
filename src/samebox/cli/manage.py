"""`samebox ps`, `rm`, `prune`, `volumes` and `images`: lists of what samebox has made on engines, and its removal."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.filesize import decimal
from rich.table import Table

from samebox.cli.console import OWN_FAILURE, err, failures, wide
from samebox.cli.subjects import parse_options
from samebox.engine.registry import registry
from samebox.errors import SandboxError
from samebox.sandbox.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from samebox.sandbox.inventory import Entry, ImageEntry, VolumeEntry

    Entries = Entry | VolumeEntry | ImageEntry

_Wanted = TypeVar("_Wanted")
_Engines = Annotated[list[str], typer.Option("--engine", help="Only this engine; may be repeated.")]
_Options = Annotated[
    list[str], typer.Option("--engine-option", metavar="ENGINE.KEY=VALUE", help="One of an engine's own options.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_AGE = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _age(text: str) -> float:
    """Return the seconds of an age as 12h."""
    found = _AGE.fullmatch(text)
    if found is None:
        msg = f"an age is a number and one of s, m, h and d, as in 12h or 7d, not {text!r}"
        raise typer.BadParameter(msg)
    return float(int(found[1]) * _SECONDS[found[2]])


def ps(
    engine: _Engines = [],  # noqa: B006 - typer copies the list
    engine_option: _Options = [],  # noqa: B006
    as_json: _Json = False,
) -> None:
    """List the sandboxes on every engine, with the process that each belongs to."""
    with failures(), _inventory(engine, engine_option) as inventory:
        found = inventory.sandboxes()
    rows = [
        (each.engine, each.status.name, each.status.state, _date(each.status.created), each.owner_text,
         "yes" if each.kept else "")
        for each in found
    ]  # fmt: skip
    columns = ("engine", "name", "state", "created", "owner", "kept")
    _list("sandboxes", found, columns, rows, inventory.unreachable, as_json=as_json)


def rm(
    names: Annotated[list[str], typer.Argument(help="Names or ids.")],
    engine: _Engines = [],  # noqa: B006
    engine_option: _Options = [],  # noqa: B006
    as_json: _Json = False,
) -> None:
    """Remove sandboxes by name; only those that samebox made."""
    with failures(), _inventory(engine, engine_option) as inventory:
        _remove(inventory, names, inventory.sandbox, as_json=as_json)


def prune(
    images_older_than: Annotated[
        float | None,
        typer.Option(
            parser=_age,
            metavar="AGE",
            help="Remove as well the images made by samebox that no sandbox has, and that were neither made nor used "
            "for so long: 12h, 7d.",
        ),
    ] = None,
    engine: _Engines = [],  # noqa: B006
    engine_option: _Options = [],  # noqa: B006
    as_json: _Json = False,
) -> None:
    """Remove the sandboxes of owners that are dead, and the networks of sandboxes that are gone.

    What was to be kept stays, and so do volumes.
    """
    with failures(), _inventory(engine, engine_option) as inventory:
        left: list[Entries] = [*inventory.abandoned()]
        if images_older_than is not None:
            left += inventory.stale_images(images_older_than)
        if not as_json:
            _complain(inventory.unreachable.values())
        _remove(inventory, left, lambda entry: entry, as_json=as_json, afterwards=inventory.prune)


def volumes(
    remove: Annotated[
        list[str], typer.Option(help="Remove this one instead, which no sandbox may use; may be repeated.")
    ] = [],  # noqa: B006
    engine: _Engines = [],  # noqa: B006
    engine_option: _Options = [],  # noqa: B006
    as_json: _Json = False,
) -> None:
    """List the named volumes that samebox made, or remove some of them."""
    with failures(), _inventory(engine, engine_option) as inventory:
        if remove:
            _remove(inventory, remove, inventory.volume, as_json=as_json)
            return
        found = inventory.volumes()
    rows = [(each.engine, each.status.name, _date(each.status.created)) for each in found]
    _list("volumes", found, ("engine", "name", "created"), rows, inventory.unreachable, as_json=as_json)


def images(
    remove: Annotated[
        list[str], typer.Option(help="Remove the one of this name or id, which no sandbox may have; may be repeated.")
    ] = [],  # noqa: B006
    engine: _Engines = [],  # noqa: B006
    engine_option: _Options = [],  # noqa: B006
    as_json: _Json = False,
) -> None:
    """List the images that samebox made (builds, snapshots, imports of archives and directories), or remove some."""
    with failures(), _inventory(engine, engine_option) as inventory:
        if remove:
            _remove(inventory, remove, inventory.image, as_json=as_json)
            return
        found = inventory.images()
    rows = [
        (each.engine, "\n".join(each.status.names) or each.status.id, each.status.kind, decimal(each.status.size),
         _date(each.status.last_used), "\n".join(each.status.used_by))
        for each in found
    ]  # fmt: skip
    columns = ("engine", "image", "kind", "size", "last used", "used by")
    _list("images", found, columns, rows, inventory.unreachable, as_json=as_json)


def _inventory(engines: list[str], options: list[str]) -> Inventory:
    return Inventory(engines, options=parse_options(options, engines or sorted(registry().engines)))


def _list(
    what: str,
    found: Sequence[Entries],
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    unreachable: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    if as_json:
        typer.echo(json.dumps({what: [entry.as_dict() for entry in found], "unreachable": unreachable}, indent=2))
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    wide.print(table)
    _complain(unreachable.values())


def _nothing() -> list[str]:
    return []


def _remove(
    inventory: Inventory,
    wanted: Iterable[_Wanted],
    find: Callable[[_Wanted], Entries],
    *,
    as_json: bool,
    afterwards: Callable[[], list[str]] = _nothing,
) -> None:
    """Find and remove each sandbox, volume or image; go on after a failure, and fail at the end.

    Args:
        inventory: What there is.
        wanted: What to remove.
        find: Finds the entry of one.
        as_json: Print JSON.
        afterwards: Removes what nothing uses then, and returns it in words.
    """
    removed: list[Entries] = []
    failed: dict[str, str] = {}
    for each in wanted:
        try:
            entry = find(each)
            inventory.remove(entry)
        except SandboxError as error:
            failed[str(each)] = str(error)
        else:
            removed.append(entry)
            if not as_json:
                typer.echo(str(entry))
    leftovers = afterwards()
    if as_json:
        result = {
            "removed": [entry.as_dict() for entry in removed],
            "leftovers": leftovers,
            "failed": failed,
            "unreachable": inventory.unreachable,
        }
        typer.echo(json.dumps(result, indent=2))
    else:
        for line in leftovers:
            typer.echo(line)
    _complain(failed.values())
    if failed:
        sys.exit(OWN_FAILURE)


def _complain(lines: Iterable[str]) -> None:
    for line in lines:
        err.print(f"samebox: {line}", markup=False)


def _date(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds") if seconds else ""
