"""The command line: one module per command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of `samebox`."""
    # Here, so that importing the package for its name alone costs nothing.
    from samebox.cli.app import app  # noqa: PLC0415

    app()
