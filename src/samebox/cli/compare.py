"""`samebox compare`: two engines side by side on this host, in one page."""

from __future__ import annotations

import json
import statistics
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from samebox.cli.conformance import EngineOption, Engines, Image, require_pytest, run_all
from samebox.cli.console import fail, failures, live, out
from samebox.cli.subjects import parse_subjects
from samebox.conformance.cleaning import Cleaner
from samebox.conformance.runner import Subject, SuiteOptions
from samebox.engine.registry import registry
from samebox.errors import SandboxError
from samebox.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from samebox.conformance.report.report import Document
    from samebox.engine import EngineInfo

SCHEMA = "samebox-compare/1"


def compare(
    engines: Engines,
    report: Annotated[Path, typer.Option(metavar="DIR", help="Write compare.html and compare.json there.")],
    engine_option: EngineOption = [],  # noqa: B006 - typer copies the list
    image: Image = [],  # noqa: B006
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A result.json of these engines, instead of running the suite.")
    ] = None,
    select: Annotated[str | None, typer.Option("--select", "-k", help="Only tests that match, as pytest's -k.")] = None,
    samples: Annotated[int, typer.Option(min=3, help="How often a quick thing is measured.")] = 25,
) -> None:
    """Compare two engines on this host: capabilities, behaviour, security posture and speed."""
    with failures():
        subjects = parse_subjects(engines, engine_option, image)
        if len(subjects) != 2:
            fail(f"two engines are compared, not {len(subjects)}: ENGINE or LABEL=ENGINE, each")
        cleaner = Cleaner()
        conformance = _conformance(subjects, results, select, cleaner)
        makers, infos = {}, {}
        for subject in subjects:
            makers[subject.label], infos[subject.label] = _maker(subject)
        document = {"schema": SCHEMA, "conformance": conformance} | _measure(makers, infos, samples, cleaner)
        from samebox.compare.page import compare_page  # noqa: PLC0415 - not for other commands

        report.mkdir(parents=True, exist_ok=True)
        (report / "compare.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (report / "compare.html").write_text(compare_page(document), encoding="utf-8")
        _show(document, [subject.label for subject in subjects])
        out.print(f"\nwritten: {report / 'compare.html'}, {report / 'compare.json'}", markup=False)


def _conformance(subjects: Sequence[Subject], results: Path | None, select: str | None, cleaner: Cleaner) -> Document:
    from samebox.conformance.report.report import SCHEMA as RESULT, make_document  # noqa: PLC0415 - for this one alone

    if results is None:
        require_pytest()
        begun = datetime.now(UTC)
        return make_document(run_all(subjects, SuiteOptions(select=select)), begun, cleaner)
    found: Document = json.loads(results.read_text(encoding="utf-8"))
    if found.get("schema") != RESULT:
        fail(f"--results {results}: its schema is {found.get('schema')!r}, expected {RESULT!r}")
    by_label = {engine["label"]: engine for engine in found["engines"]}
    missing = [subject.label for subject in subjects if subject.label not in by_label]
    if missing:
        fail(f"--results {results}: no results of {', '.join(missing)}; it has {', '.join(by_label)}")
    return {**found, "engines": [by_label[subject.label] for subject in subjects]}


def _maker(subject: Subject) -> tuple[Callable[[], Sandbox], EngineInfo]:
    """Return a function that makes sandboxes with the engine's defaults, at the engine's own tier of isolation."""
    engine_class = registry().get(subject.engine)
    engine = engine_class(subject.options)
    try:
        info = engine.probe()
    finally:
        engine.close()
    settings: dict[str, Any] = {"engine": subject.engine, "options": subject.options, "isolation": info.isolation}
    image = subject.image or (None if engine_class.default_image is not None else "busybox")
    if image is not None:
        settings["image"] = image
    return lambda: Sandbox(**settings), info


def _measure(
    makers: Mapping[str, Callable[[], Sandbox]], infos: Mapping[str, EngineInfo], samples: int, cleaner: Cleaner
) -> dict[str, Any]:
    from samebox.compare.posture import posture  # noqa: PLC0415 - not for other commands
    from samebox.compare.speed import MEMORY, memory, speed  # noqa: PLC0415

    answers, notes = {}, {}
    with live.status("measuring") as status:
        for label, make in makers.items():
            status.update(f"{label}: posture")
            with make() as box:
                answers[label] = {name: cleaner.line(text) for name, text in posture(box, infos[label]).items()}
        found = speed(makers, samples, status.update)
        for label, make in makers.items():
            status.update(f"{label}: memory")
            try:
                value, processes = memory(make)
            except SandboxError as error:
                value, processes = None, str(error)
            found[label][MEMORY.name] = [round(value, 3)] if value is not None else []
            notes[label] = cleaner.line(processes)
    return {"posture": answers, "speed": found, "notes": notes}


def _show(document: Mapping[str, Any], labels: Sequence[str]) -> None:
    table = Table("", *labels, box=None, pad_edge=False)
    by_label = {engine["label"]: engine for engine in document["conformance"]["engines"]}
    words = [" ".join(f"{name} {count}" for name, count in by_label[label]["counts"].items()) for label in labels]
    table.add_row("contract", *words)
    for name in ("the engine runs as", "effective capabilities (CapEff)", "seccomp", "no new privileges"):
        table.add_row(name, *(document["posture"][label][name].partition(":")[0] for label in labels))
    for name in document["speed"][labels[0]]:
        samples = [document["speed"][label][name] for label in labels]
        table.add_row(name, *(f"{statistics.median(found):.2f}" if found else "not measured" for found in samples))
    out.print(table)
