"""Command line: one module a command.

It imports every other room, and nothing imports it; typer and rich are imported here alone.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of `samebox`."""
    # Here, so that importing the package for its name alone costs nothing.
    from samebox.cli.app import app  # noqa: PLC0415

    app()
