#!/usr/bin/env python3
"""Write docs/engines.md and the table in docs/configuration.md from the results of the conformance suite.

    python tools/engine_pages.py [--write DIR] [RESULT...]

RESULT is a result.json of `samebox conformance --report` or of pytest's --report, or a directory with such files below
it. The new results of an engine replace those of the same engine in the same version in docs/engines.json, the summary
of all results so far; then the pages are written. Without RESULT the pages are made of the summary alone, as after a
new setting.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from engine_summary import family, merge, short, summarise
from samebox.config.model import SandboxConfig
from samebox.conformance.report.tables import questions
from samebox.conformance.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic.fields import FieldInfo

    from engine_summary import Summary

DOCS = Path(__file__).parent.parent / "docs"
STORE, ENGINES, CONFIGURATION = "engines.json", "engines.md", "configuration.md"
BEGIN, END = "<!-- generated: settings by engine -->\n", "<!-- end -->\n"

HOST_SIDE = {
    "engine": "It chooses among the engines.",
    "options": "Each engine has its own, and checks them by a model of its own.",
}
"""The settings that say nothing about a sandbox, each with the reason."""
HEAD = """# Engines

What the conformance suite ({conformance}) has found of each engine, in versions that teams run. This page is written by
`python tools/engine_pages.py` from the results of CI and of `tox -e matrix`.

PASS: the promise is kept. UNSUPPORTED: the engine does not claim the behaviour, and refuses it in the right way.
HOST-MISSING: the engine claims it, and the host of that run lacked what it takes.

| engine | version | {verdicts} | profiles | runs on | date |
|---|---|{lines}---|---|---|
"""
HOSTS = """
Hosts: {hosts}.

## Capabilities

Each is asked by a test at least. *yes*: the engine has it. *no*: it refuses it, before anything starts. *host*: it has
it, but not on the host of that run. A number says why, below.

"""
SETTINGS = """
## Settings by engine

What the suite has seen of each setting, on the hosts and in the versions that [Engines](engines.md) names.
*yes*: it works, as seen from inside or by the engine's own inspect. *no*: it is refused before anything starts.
*host*: the engine has it, and it was refused on the host of that run. A number says why, below.

"""


def table(rows: Mapping[str, str], summaries: Sequence[Summary], part: str) -> str:
    """Return a table of capabilities or settings by engine, with the reasons below the table.

    Args:
        rows: The names of the rows, each with its description.
        summaries: The summaries, sorted by `key`.
        part: The entry of a summary that has the cells of the rows.
    """
    families: dict[str, list[Summary]] = {}
    for summary in summaries:
        families.setdefault(family(summary), []).append(summary)
    reasons: dict[str, int] = {}
    lines = [f"| | {' | '.join(families)} |", f"|---|{'---|' * len(families)}"]
    for name, text in rows.items():
        cells = [_cell(name, members, part, reasons) for members in families.values()]
        lines.append(f"| `{name}`{f' {text}' if text else ''} | {' | '.join(cells)} |")
    lines.append("")
    lines += [f"{number}. {_plain(reason)}" for reason, number in reasons.items()]
    return "\n".join(lines) + "\n"


def _cell(name: str, members: Sequence[Summary], part: str, reasons: dict[str, int]) -> str:
    texts: dict[str, list[str]] = {}
    for member in reversed(members):
        texts.setdefault(_words(member[part].get(name, []), reasons), []).append(short(member))
    if len(texts) == 1:
        return next(iter(texts))
    return "; ".join(f"{', '.join(versions)}: {text}" for text, versions in texts.items())


def _words(cell: Iterable[Sequence[str]], reasons: dict[str, int]) -> str:
    entries = [tuple(entry) for entry in cell]
    good = [entry for entry in entries if entry[0] == "yes"]
    bad = [entry for entry in entries if entry[0] != "yes"]
    if len({(state, reason) for state, _, reason in bad}) == 1 and not good:
        bad = bad[:1]
    words = []
    for state, about, reason in bad:
        number = f" ({reasons.setdefault(reason, len(reasons) + 1)})" if reason else ""
        words.append(f"{about} {state}{number}" if good or len({entry[1] for entry in bad}) > 1 else f"{state}{number}")
    return ", ".join((["yes"] if good else []) + words) or "not run yet"


def _plain(text: str) -> str:
    return re.sub(r"([|<>*_`])", r"\\\1", " ".join(text.split()))


def engines_page(summaries: Sequence[Summary]) -> str:
    """Return the text of docs/engines.md."""
    verdicts = [verdict for verdict in Verdict if any(verdict in summary["counts"] for summary in summaries)]
    page = HEAD.format(
        conformance="[Conformance](conformance.md)", verdicts=" | ".join(verdicts), lines="---|" * len(verdicts)
    )
    hosts = list(dict.fromkeys(summary["host"] for summary in summaries))
    for summary in summaries:
        counts = " | ".join(str(summary["counts"].get(verdict, 0)) for verdict in verdicts)
        details = [f"{name} {text}" for name, text in summary["details"].items() if text]
        where = ", ".join([f"host {hosts.index(summary['host']) + 1}", *details])
        profiles = ", ".join(summary["conforms"]) or "none"
        page += f"| {family(summary)} | {summary['version']} | {counts} | {profiles} | {where} | {summary['date']} |\n"
    page += HOSTS.format(hosts="; ".join(f"({number}) {host}" for number, host in enumerate(hosts, 1)))
    return page + table({name: text.strip() for name, text in questions().items()}, summaries, "capabilities")


def configuration_page(page: str, summaries: Sequence[Summary]) -> str:
    """Return the text of docs/configuration.md with the table made anew.

    Raises:
        ValueError: The page has no place for the table.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        msg = f"{CONFIGURATION} has no lines {BEGIN.strip()!r} and {END.strip()!r}"
        raise ValueError(msg)
    rows = {name: _setting(field) for name, field in SandboxConfig.model_fields.items() if name not in HOST_SIDE}
    notes = "".join(f"\n`{name}` is not in the table. {why}\n" for name, why in HOST_SIDE.items())
    return before + begin + SETTINGS + table(rows, summaries, "settings") + notes + end + after


def _setting(field: FieldInfo) -> str:
    """Return the words on a setting in the table: its description and default."""
    default = field.get_default(call_default_factory=True)
    text = " ".join(str(field.description).split()).replace("|", r"\|")
    return f"{text} Default: `{getattr(default, 'value', default)!r}`."


def result_files(paths: Iterable[Path]) -> list[Path]:
    """Return every result.json that is named or lies below a named directory, the oldest first."""
    found = [file for path in paths for file in (sorted(path.rglob("result.json")) if path.is_dir() else [path])]
    return sorted(found, key=lambda file: file.stat().st_mtime)


def main(words: Sequence[str]) -> int:
    """Carry out one command line.

    Returns:
        0; 1 if a result cannot be used.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULT")
    parser.add_argument("--write", type=Path, default=DOCS, metavar="DIR", help="where; default: docs")
    options = parser.parse_args(words)
    try:
        new = [summary for file in result_files(options.results) for summary in summarise(json.loads(file.read_text()))]
        summaries = merge(json.loads((DOCS / STORE).read_text(encoding="utf-8")), new)
        pages = {
            STORE: json.dumps(summaries, indent=1) + "\n",
            ENGINES: engines_page(summaries),
            CONFIGURATION: configuration_page((DOCS / CONFIGURATION).read_text(encoding="utf-8"), summaries),
        }
    except (OSError, ValueError) as error:
        print(f"engine_pages.py: {error}", file=sys.stderr)
        return 1
    options.write.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (options.write / name).write_text(text, encoding="utf-8")
    print(f"{len(summaries)} engines, {len(new)} of them new: {Counter(map(family, summaries))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
