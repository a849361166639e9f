"""app: the typer application that the commands belong to."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from samebox.cli import compare, config, conformance, engines, manage, new_engine, run
from samebox.version import __version__

app = typer.Typer(
    name="samebox",
    help="Run commands that you don't trust in a sandbox that behaves the same on every engine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # frames of typer's tracebacks show local variables, and so environment values
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls the function like this
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: ARG001 - its callback has done it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell on stderr which engine is taken, and each stage's time.")
    ] = False,
) -> None:
    if verbose:
        logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
        logging.getLogger("samebox").setLevel(logging.DEBUG)


app.command("run", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})(run.run)
app.command("engines")(engines.engines)
app.add_typer(config.config, name="config")
app.command("ps")(manage.ps)
app.command("rm")(manage.rm)
app.command("prune")(manage.prune)
app.command("volumes")(manage.volumes)
app.command("images")(manage.images)
app.command("conformance")(conformance.conformance)
app.command("new-engine")(new_engine.new_engine)
app.command("compare")(compare.compare)
