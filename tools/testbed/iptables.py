"""The bed's own part of the firewall: an iptables for its dockerd, and the removal of what that has left."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from testbed.failure import run
from testbed.state import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.layout import Layout

PROGRAM = r"""#!/bin/sh
# For one dockerd of a machine with several: every dockerd empties and removes the chains of these names when it starts.
count=$# rule= listing=
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    case $word in
    DOCKER*) word={chains}${word#DOCKER} ;;
    -A | -I | -C | -D | --append | --insert | --check | --delete) rule=1 ;;
    -S | -L | -nL | --list | --list-rules) listing=1 ;;
    esac
    set -- "$@" "$word"
done
if [ -n "$rule" ]; then
    set -- "$@" -m comment --comment {mark}
fi
if [ -n "$listing" ]; then
    text=$({iptables} "$@") || exit
    printf '%s\n' "$text" | sed 's/{chains}/DOCKER/g'
    exit
fi
exec {iptables} "$@"
"""
"""A shell script that gives Docker's chains other names, and each rule a comment by which the rule is known."""


def own_iptables(layout: Layout, directory: Path) -> None:
    """Write a program `iptables` for the bed's dockerd.

    Args:
        layout: The layout of the bed.
        directory: The program's directory, to be put first on the daemon's PATH.
    """
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "iptables"
    text = PROGRAM.replace("{chains}", layout.docker_chains).replace("{mark}", layout.firewall_table)
    write_atomically(program, text.replace("{iptables}", shutil.which("iptables") or "/usr/sbin/iptables"))
    program.chmod(0o755)


def remove_own_rules(layout: Layout) -> None:
    """Remove the rules and chains that the bed's dockerd has made, and no others.

    Raises:
        TestbedError: iptables fails.
    """
    table, chains = "", []
    for line in run(["iptables-save"]).splitlines():
        # Only comments are in quotation marks.
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(f":{layout.docker_chains}"):
            chains.append((table, words[0][1:]))
        elif words[:1] == ["-A"] and layout.firewall_table in words:
            run(["iptables", "--table", table, "--delete", *words[1:]])
    for table, chain in chains:
        run(["iptables", "--table", table, "--flush", chain])
    for table, chain in chains:
        run(["iptables", "--table", table, "--delete-chain", chain])
