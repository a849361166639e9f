#!/usr/bin/env python3
"""Run the conformance suite on every version of every engine in turn, on a Debian machine, as root.

    python tools/matrix.py RESULTS [VERSION...]

VERSION is as for `tools/engines.py up --version`; default: all versions. A version that is up is used and left alone,
any other version is started for its turn. RESULTS gets a directory for each version, with the suite's report;
`tools/engine_pages.py` makes the pages of these reports.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.edition_bed import EditionBed
from testbed.editions import EDITIONS, parse_editions
from testbed.failure import TestbedError
from testbed.layout import Layout
from testbed.state import locked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.bed import Reach
    from testbed.editions import Edition


def tell(line: str) -> None:
    """Print a line for a person, on stderr."""
    print(line, file=sys.stderr, flush=True)


def run_suite(table: Sequence[Reach], image: str, report: Path) -> bool:
    """Run the suite on the engines of one version.

    Args:
        table: The engines.
        image: The image of the engines' sandboxes.
        report: The directory for the report.

    Returns:
        Whether all engines keep the contract.
    """
    subjects: list[str] = []
    options: list[str] = []
    for line in table:
        label = line.engine.replace("=", "-").replace(".", "_")
        subjects.append(f"{label}={label.partition('-')[0]}")
        options += ["--engine-option", f"{label}.url={line.url}"]
    # The command `samebox` of this Python's environment.
    samebox = Path(sys.executable).with_name("samebox")
    command: list[str | Path] = [samebox, "conformance", *subjects, *options, "--image", image, "--report", report]
    return subprocess.run(command, check=False).returncode == 0


def run_edition(layout: Layout, edition: Edition, results: Path) -> bool:
    """Run the suite on one version, rootful and rootless where the version has both.

    Args:
        layout: The layout of the ordinary bed.
        edition: The version.
        results: The directory in which the version's own directory is made.

    Returns:
        Whether all engines of the version could be reached and keep the contract.

    Raises:
        TestbedError: The version's engines cannot be made or removed.
    """
    bed = EditionBed(layout, edition, tell)
    stays = bed.made
    try:
        table = bed.up()
        for line in table:
            tell(f"{line.engine}: {line.version}, {line.detail}")
        if not all(line.usable for line in table):
            return False
        return run_suite(table, bed.recipes[0].tags[0], results / edition.name.replace("=", "-"))
    finally:
        if not stays:
            bed.down()


def main(words: Sequence[str]) -> int:
    """Carry out one command line.

    Returns:
        0 if every engine keeps the contract, else 1; 2 for a wrong command line.
    """
    if not words or words[0].startswith("-"):
        tell(__doc__ or "")
        return 2
    results = Path(words[0]).absolute()
    os.umask(0o022)
    layout = Layout.from_environment()
    good = True
    try:
        editions = parse_editions(words[1:]) or EDITIONS
    except TestbedError as error:
        tell(f"matrix.py: {error}")
        return 2
    with locked(layout.editions_lock_file):
        for edition in editions:
            try:
                good = run_edition(layout, edition, results) and good
            except TestbedError as error:
                tell(f"matrix.py: {error}")
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
