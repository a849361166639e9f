"""`samebox conformance`: the run of the suite on one or several engines, and its report."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from samebox.cli.console import fail, failures, live, out
from samebox.cli.subjects import parse_subjects
from samebox.conformance.cleaning import Cleaner
from samebox.conformance.profiles import PROFILES
from samebox.conformance.runner import SuiteOptions, has_pytest, run_suite
from samebox.conformance.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samebox.conformance.report.report import Document
    from samebox.conformance.runner import EngineRun, Subject

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.ERROR: "red", Verdict.KNOWN: "yellow"}
_MOST = 12
"""The most lines of failures that are shown on the screen."""

Engines = Annotated[
    list[str],
    typer.Argument(help="ENGINE, or LABEL=ENGINE, so that one engine can be there twice.", metavar="ENGINE..."),
]
EngineOption = Annotated[
    list[str],
    typer.Option("--engine-option", metavar="ENGINE.KEY=VALUE", help="One of an engine's own options, by its label."),
]
Image = Annotated[
    list[str],
    typer.Option(
        metavar="[ENGINE=]REF", help="The image of the sandboxes, of all engines or of one; default: the engine's."
    ),
]


def conformance(
    engines: Engines,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write result.json, junit.xml and report.html there.")
    ] = None,
    engine_option: EngineOption = [],  # noqa: B006 - typer copies the list
    image: Image = [],  # noqa: B006
    profile: Annotated[str | None, typer.Option(help=f"A named set of capabilities: {', '.join(PROFILES)}.")] = None,
    known: Annotated[
        list[str], typer.Option(metavar="ID=URL|FILE", help="A known failure with its issue, or a file of them.")
    ] = [],  # noqa: B006
    select: Annotated[
        str | None, typer.Option("--select", "-k", help="Only tests that match, as pytest's -k; the run is partial.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes per engine; needs pytest-xdist.")] = 1,
) -> None:
    """Hold engines to the contract: run the suite on each engine in turn, and show what the suite found.

    Exit code 0: no verdict is FAIL or ERROR. 1: a verdict is FAIL or ERROR. 125: samebox itself has failed.
    """
    with failures():
        subjects = parse_subjects(engines, engine_option, image)
        require_pytest()
        if profile is not None and profile not in PROFILES:
            fail(f"there is no profile {profile!r}; there are: {', '.join(PROFILES)}")
        known = [str(Path(text).absolute()) if Path(text).is_file() else text for text in known]
        begun = datetime.now(UTC)
        runs = run_all(subjects, SuiteOptions(profile, select, tuple(known), jobs))
        from samebox.conformance.report.report import (  # noqa: PLC0415 - not for other commands
            make_document,
            write_report,
        )

        document = make_document(runs, begun, Cleaner())
        show(document)
        if report is not None:
            paths = write_report(report, document)
            out.print(f"\nwritten: {', '.join(map(str, paths))}", markup=False)
    sys.exit(0 if document["ok"] else 1)


def require_pytest() -> None:
    """End with an error message where pytest, which runs the suite, is not installed."""
    if not has_pytest():
        fail("the suite needs pytest: pip install 'samebox[conformance]'")


def run_all(subjects: Sequence[Subject], options: SuiteOptions) -> list[EngineRun]:
    """Run the suite on each subject, with a progress bar on stderr where stderr is a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[bad]}", style="red"),
        TimeElapsedColumn(),
    )
    runs = []
    with Progress(*columns, console=live, disable=not live.is_terminal, expand=True) as progress:
        tasks = [progress.add_task(subject.label, total=None, bad="", start=False) for subject in subjects]
        for subject, task in zip(subjects, tasks, strict=True):
            progress.start_task(task)

            def advance(total: int, found: EngineRun, task: TaskID = task) -> None:
                bad = sum(result.verdict.bad for result in found.run.results.values())
                progress.update(
                    task,
                    total=total or None,
                    completed=len(found.run.results),
                    bad=f"{bad} bad" if bad else "",
                )

            runs.append(run_suite(subject, options, advance))
            progress.stop_task(task)
    return runs


def show(document: Document) -> None:
    """Print the results on one screen."""
    for engine in document["engines"]:
        info = engine["info"]
        what = f"{engine['engine']} {info['version']}, isolation {info['isolation']}" if info else engine["engine"]
        state = "keeps the contract" if engine["ok"] else "does not keep the contract"
        if engine["unavailable"]:
            state = "ERROR: cannot be tested"
        elif engine["ok"] and engine["partial"]:
            state = "keeps what was tested"
        elif not engine["results"]:
            state = "no test was run"
        out.print(f"{engine['label']} ({what}): {state}", style="green" if engine["ok"] else "red", markup=False)
        words = [f"{name} {count}" for name, count in engine["counts"].items()]
        out.print(f"  {'  '.join(words) or 'nothing'}   in {engine['duration']:.0f} s", markup=False)
        if engine["badge"]:
            out.print(f"  {engine['badge']}", markup=False)
        _lines([engine["unavailable"]] if engine["unavailable"] else [], "red")
        _lines(engine["problems"], "red")
        _lines([f"partial: {text}" for text in engine["partial"]], "yellow")
        bad = [result for result in engine["results"] if Verdict(result["verdict"]).bad or result["verdict"] == "KNOWN"]
        room = max(3, _MOST // len(document["engines"]))
        for result in bad[:room]:
            style = _STYLES[Verdict(result["verdict"])]
            _lines([f"{result['verdict']} {result['id']}: {result['reason']}"], style)
        if len(bad) > room:
            _lines([f"and {len(bad) - room} more; --report writes them all"], "red")


def _lines(texts: Sequence[str], style: str) -> None:
    """Print each text on one line: its last line, unless that is short, cut at the screen's width."""
    width = max(100, out.width)
    for text in texts:
        last = text.strip().splitlines()[-1] if text.strip() else ""
        line = f"  {last if len(last) > 20 else ' '.join(text.split())}"
        out.print(line if len(line) <= width else f"{line[: width - 3]}...", style=style, markup=False)
