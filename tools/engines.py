#!/usr/bin/env python3
"""Real engines for the tests, on a Debian machine, as root.

    python3 tools/engines.py up                start Docker, Podman and rootless Podman, with the test images
    python3 tools/engines.py status [--json]   say what is reachable
    python3 tools/engines.py env               print the environment for the tests, for `eval`
    python3 tools/engines.py run -- CMD...     up, CMD with that environment, down
    python3 tools/engines.py down              remove everything but installed packages

Nothing that runs already is touched. SAMEBOX_TESTBED_DIR, SAMEBOX_TESTBED_RUN_DIR and SAMEBOX_TESTBED_USER put a
second bed beside the first.
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
from testbed.failure import TestbedError
from testbed.layout import Layout
from testbed.state import locked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from testbed.bed import Reach

#: Seconds for a command that was told to end, before it is killed.
GRACE = 30


def say(line: str) -> None:
    """Tell a person; stdout is for what was asked for."""
    print(line, file=sys.stderr, flush=True)


def print_table(table: Sequence[Reach]) -> None:
    """Print what is reachable."""
    rows = [("engine", "usable", "version", "url", "detail")]
    rows += [(line.engine, "yes" if line.usable else "NO", line.version, line.url, line.detail) for line in table]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))


def up(layout: Layout, *, transient: bool | None = None) -> bool:
    """Make the engines.

    :param transient: whether the last `run` to end takes them away again; None leaves that as it is

    :returns: whether every engine is usable
    """
    started = time.monotonic()
    with locked(layout.lock_file):
        bed = Bed(layout, say)
        if transient is not None:
            layout.state.mkdir(parents=True, exist_ok=True)
            bed.state.set(transient=transient)
        table = bed.up()
    print_table(table)
    say(f"{time.monotonic() - started:.1f} s")
    return all(line.usable for line in table)


def down(layout: Layout, *, keep_images: bool) -> None:
    """Remove the engines."""
    with locked(layout.lock_file):
        Bed(layout, say).down(keep_images=keep_images)


def status(layout: Layout, *, as_json: bool) -> bool:
    """Print what is reachable.

    :returns: whether every engine is
    """
    bed = Bed(layout, say)
    table = bed.reach()
    if as_json:
        print(json.dumps({"engines": [asdict(line) for line in table], "environment": bed.environment()}, indent=2))
    else:
        print_table(table)
    return all(line.usable for line in table)


def run(layout: Layout, command: Sequence[str], *, keep_images: bool) -> int:
    """Run a command with the engines, and take them away unless they were there before or others use them.

    :returns: the command's exit code; 128+n when signal n ended it
    """
    def interrupt(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupt)
    with locked(layout.users_file, shared=True):
        there = Bed(layout, say).state.get("transient")
        try:
            # There without having been made by a `run`: they stay. Otherwise the last `run` takes them away.
            usable = up(layout, transient=there is not False)
            code = call(layout, command) if usable else 1
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
    with locked(layout.users_file, wait=False) as alone:
        if alone and Bed(layout, say).state.get("transient"):
            down(layout, keep_images=keep_images)
    return code


def call(layout: Layout, command: Sequence[str]) -> int:
    """Run a command with the tests' environment, and end it when this process is told to end.

    :returns: its exit code; 128+n when signal n ended it
    """
    environment = {**os.environ, **Bed(layout, say).environment()}
    with subprocess.Popen(command, env=environment) as child:
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


def main(argv: Sequence[str]) -> int:
    """Carry out one command line.

    :returns: 0; 1 when an engine is not usable or something could not be done
    """
    parser = argparse.ArgumentParser(prog="engines.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="make every engine reachable, and repair what is missing")
    commands.add_parser("env", help="print the environment for the tests")
    for name, text in (("down", "remove everything but installed packages"), ("run", "up, a command, down")):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("--keep-images", action="store_true", help="leave the image directory; saves a minute next time")
        if name == "run":
            sub.add_argument("words", nargs="+", metavar="CMD", help="the command, after --")
    commands.add_parser("status", help="say what is reachable").add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    layout = Layout.from_environment()
    try:
        if arguments.command == "up":
            return 0 if up(layout, transient=False) else 1
        if arguments.command == "down":
            down(layout, keep_images=arguments.keep_images)
        elif arguments.command == "status":
            return 0 if status(layout, as_json=arguments.json) else 1
        elif arguments.command == "env":
            for name, value in Bed(layout, say).environment().items():
                print(f"export {name}={shlex.quote(value)}")
        else:
            return run(layout, arguments.words, keep_images=arguments.keep_images)
    except TestbedError as error:
        say(f"engines.py {arguments.command}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
