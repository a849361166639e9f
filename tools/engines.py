#!/usr/bin/env python3
"""Start and remove real engines for the tests, on a Debian machine, as root.

python3 tools/engines.py up                start Docker, Podman and rootless Podman, with the test images
python3 tools/engines.py status [--json]   say what is reachable
python3 tools/engines.py env               print the environment for the tests, for `eval`
python3 tools/engines.py run -- CMD...     up, CMD with that environment, down
python3 tools/engines.py down              remove everything but installed packages

python3 tools/engines.py up --version docker=28 podman=5.8 docker-rootless
                                           start versions of engines beside those, from packages of other releases
python3 tools/engines.py down --version [NAME...]
                                           remove those versions, or all of them, and nothing else

Engines that run already are left alone, by `run` and by `down` too.
SAMEBOX_TESTBED_DIR=/some/where makes a second set of engines beside the first.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from testbed.bed import Bed
from testbed.edition_bed import EditionBed, all_edition_beds, remove_shared_parts
from testbed.editions import parse_editions
from testbed.failure import COMMANDS, TestbedError
from testbed.layout import Layout
from testbed.state import State, locked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from testbed.bed import Reach

GRACE = 30
"""How long a command that was told to end may take, in seconds; then the command is killed."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that end `run` in good order."""


def tell(line: str) -> None:
    """Print a line for a person, on stderr."""
    print(line, file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """Print the answer of a command, on stdout."""
    print(text, flush=True)


def table_text(table: Sequence[Reach]) -> str:
    """Return the text of a table of engines and whether each is usable."""
    rows = [("engine", "usable", "version", "url", "detail")]
    rows += [(line.engine, "yes" if line.usable else "NO", line.version, line.url, line.detail) for line in table]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join([*map(str.ljust, row[:4], widths), row[4]]) for row in rows)


def editions_up(layout: Layout, words: Sequence[str]) -> bool:
    """Make versioned engines, and print the table of these engines.

    Args:
        layout: The layout of the ordinary bed.
        words: The versions, as in "docker=28".

    Returns:
        Whether every engine of these versions is usable.
    """
    editions = parse_editions(words)
    table: list[Reach] = []
    with locked(layout.editions_lock_file):
        for edition in editions:
            table += EditionBed(layout, edition, tell).up()
    answer(table_text(table))
    return all(line.usable for line in table)


def editions_down(layout: Layout, words: Sequence[str]) -> None:
    """Remove versioned engines.

    Args:
        layout: The layout of the ordinary bed.
        words: The versions, as in "docker=28"; none for all versions.
    """
    with locked(layout.editions_lock_file):
        beds = [EditionBed(layout, edition, tell) for edition in parse_editions(words)]
        for bed in beds or all_edition_beds(layout, tell):
            bed.down()


def up(layout: Layout, *, transient: bool) -> bool:
    """Make the ordinary engines, and print the table of these engines.

    Args:
        layout: The layout of the bed.
        transient: Let the last `run` that ends remove the engines again.

    Returns:
        Whether every engine is usable.
    """
    started = time.monotonic()
    with locked(layout.lock_file):
        bed = Bed(layout, tell)
        bed.state.set(transient=transient)
        table = bed.up()
    answer(table_text(table))
    tell(f"{time.monotonic() - started:.1f} s")
    return all(line.usable for line in table)


def down(layout: Layout, *, keep_images: bool) -> None:
    """Remove the ordinary engines."""
    with locked(layout.lock_file):
        Bed(layout, tell).down(keep_images=keep_images)


def down_all(layout: Layout, *, keep_images: bool) -> None:
    """Remove the ordinary engines, and all versioned engines."""
    editions_down(layout, [])
    if not keep_images:
        remove_shared_parts(layout)
    down(layout, keep_images=keep_images)


def status(layout: Layout, *, as_json: bool) -> bool:
    """Print which engines are reachable.

    Returns:
        Whether every engine is usable.
    """
    beds = [Bed(layout, tell), *all_edition_beds(layout, tell)]
    table = [line for bed in beds for line in bed.reach()]
    if as_json:
        environment = {name: value for bed in beds for name, value in bed.environment().items()}
        packages = {bed.edition.name: bed.packages() for bed in beds if isinstance(bed, EditionBed)}
        document = {"engines": [asdict(line) for line in table], "environment": environment, "packages": packages}
        answer(json.dumps(document, indent=2))
    else:
        answer(table_text(table))
    return all(line.usable for line in table)


def environment(layout: Layout) -> dict[str, str]:
    """Return the environment for the tests.

    Raises:
        TestbedError: The engines were not made.
    """
    beds = [Bed(layout, tell), *all_edition_beds(layout, tell)]
    made = [bed for bed in beds if bed.state.get("engines") is not None]
    if not made:
        found = f"{layout.state_file} knows of none"
        raise TestbedError(tried="find the engines", found=found, remedy="Run `up` first.")
    return {name: value for bed in made for name, value in bed.environment().items()}


def run(layout: Layout, command: Sequence[str], *, keep_images: bool) -> int:
    """Run a command with the engines, and remove the engines unless they were there before or another `run` uses them.

    Args:
        layout: The layout of the bed.
        command: The command.
        keep_images: Leave the image directory in place.

    Returns:
        The command's exit code, or 128+n if signal n ended it; 1 if an engine is not usable.

    Raises:
        SystemExit: This program was told to end; the engines are gone.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        # The first signal counts: another signal would break into the cleaning up.
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        COMMANDS.interrupt()
        raise SystemExit(128 + number)

    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        with locked(layout.users_file, shared=True):
            # Engines that `up` made stay; engines that a `run` made are removed by the last `run` that ends.
            kept = State(layout.state_file).get("transient") is False
            usable = up(layout, transient=not kept)
            return call(layout, command) if usable else 1
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        COMMANDS.resume()
        with locked(layout.users_file, wait=False) as alone:
            if alone and State(layout.state_file).get("transient"):
                down(layout, keep_images=keep_images)


def call(layout: Layout, command: Sequence[str]) -> int:
    """Run a command with the tests' environment, and end it when this program is told to end.

    Returns:
        The command's exit code; 128+n if signal n ended the command.
    """
    try:
        child = subprocess.Popen(command, env={**os.environ, **environment(layout)})
    except OSError as error:
        remedy = "Give a command and its arguments after `--`."
        raise TestbedError(tried=shlex.join(command), found=str(error), remedy=remedy) from error
    with child:
        try:
            code = child.wait()
        except SystemExit:
            child.terminate()
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
    return code if code >= 0 else 128 - code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of one command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="engines.py", description=__doc__, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    upward = commands.add_parser("up", help="make every engine reachable, and repair what is missing")
    upward.add_argument("--version", nargs="+", metavar="NAME", help="these versions instead, as in docker=28")
    commands.add_parser("status", help="say what is reachable").add_argument("--json", action="store_true")
    commands.add_parser("env", help="print the environment for the tests")
    for name, text in (("run", "up, a command, down"), ("down", "remove everything but installed packages")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--keep-images", action="store_true", help="leave the images: saves a minute next time")
        if name == "down":
            what = "these versions alone, as in docker=28; all of them if none is named"
            command.add_argument("--version", nargs="*", metavar="NAME", help=what)
        if name == "run":
            command.add_argument("words", nargs="+", metavar="CMD", help="the command, after --")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Carry out one command line.

    Returns:
        0; 1 if an engine is not usable or the command failed; for `run`, the exit code of the command given.
    """
    options = parse(argv)
    # Files that ordinary users need must not depend on the caller's umask.
    os.umask(0o022)
    layout = Layout.from_environment()
    code = 0
    try:
        match options.command:
            case "up" if options.version is not None:
                code = 0 if editions_up(layout, options.version) else 1
            case "up":
                code = 0 if up(layout, transient=False) else 1
            case "down" if options.version is not None:
                editions_down(layout, options.version)
            case "down":
                down_all(layout, keep_images=options.keep_images)
            case "status":
                code = 0 if status(layout, as_json=options.json) else 1
            case "env":
                answer("\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment(layout).items()))
            case "run":
                code = run(layout, options.words, keep_images=options.keep_images)
    except TestbedError as error:
        tell(f"engines.py {options.command}: {error}")
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
