"""Command line: the commands of `samebox`, in one module for each command.

This package imports every other package, and no package imports it; typer and rich are imported here alone.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of `samebox`."""
    # Imported here, so that importing the package for its name alone costs nothing.
    from samebox.cli.app import app  # noqa: PLC0415

    app()
