"""Document: the suite's results on several engines as plain values, and the files that are made of them."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import TYPE_CHECKING, Any

from samebox.conformance.profiles import CONTRACT, badge
from samebox.conformance.report.junit import junit
from samebox.conformance.report.page import report_page
from samebox.conformance.suite import suite_tests
from samebox.conformance.verdicts import Verdict
from samebox.engine.registry import registry
from samebox.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from samebox.conformance.cleaning import Cleaner
    from samebox.conformance.runner import EngineRun

SCHEMA = "samebox-conformance/1"
"""The name and version of result.json's schema. A new field keeps the number; a changed or dropped field raises it."""

Document = dict[str, Any]
"""The content of result.json; docs/conformance.md describes its fields."""


def make_document(runs: Sequence[EngineRun], begun: datetime, cleaner: Cleaner) -> Document:
    """Return the results of runs as plain, cleaned values.

    Args:
        runs: The runs, one for each engine.
        begun: When the first run was started.
        cleaner: Keeps environment values and control characters out.
    """
    return {
        "schema": SCHEMA,
        "contract": CONTRACT,
        "samebox": __version__,
        "begun": begun.astimezone(UTC).isoformat(timespec="seconds"),
        "duration": round((datetime.now(UTC) - begun).total_seconds(), 3),
        "ok": not any(found.failed for found in runs),
        "host": host(),
        "packages": packages(),
        "tests": _tests(runs, cleaner),
        "engines": [_engine(found, cleaner) for found in runs],
    }


def write_report(directory: Path, document: Document) -> list[Path]:
    """Write result.json, junit.xml and report.html and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        "result.json": json.dumps(document, indent=1) + "\n",
        "junit.xml": junit(document),
        "report.html": report_page(document),
    }
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
    return [directory / name for name in texts]


def host() -> dict[str, Any]:
    """Return the facts about this host that matter to a report, without the host's name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        system = platform.system()
    return {
        "system": system,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": memory,
        "root": os.geteuid() == 0,
        "python": platform.python_version(),
    }


def packages() -> dict[str, str]:
    """Return the versions of samebox, of the distributions with engines, and of the packages that they build on."""
    names = {source.distribution for source in registry().sources.values()} | {"samebox", "pytest", "docker", "podman"}
    names |= {found.name for found in distributions() if found.name.startswith("bubblewrap")}
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _tests(runs: Sequence[EngineRun], cleaner: Cleaner) -> list[dict[str, Any]]:
    """Return every test that was run on any engine, in the suite's order."""
    sources = suite_tests()
    order = {name: number for number, name in enumerate(sources)}
    found = {result.id: result for run in runs for result in run.run.results.values()}
    tests = []
    for name in sorted(found, key=lambda name: (order.get(name.partition("[")[0], len(order)), name)):
        source = sources.get(name.partition("[")[0])
        _, _, why = source.docstring.partition("\n") if source is not None else ("", "", "")
        tests.append(
            {
                "id": cleaner.line(name),
                "group": name.partition("/")[0],
                "sentence": cleaner.line(found[name].sentence),
                "why": why.strip(),
                "capabilities": list(found[name].capabilities),
                "fields": list(source.fields) if source is not None else [],
            }
        )
    return tests


def _engine(found: EngineRun, cleaner: Cleaner) -> dict[str, Any]:
    run, subject = found.run, found.subject
    source = registry().sources.get(subject.engine)
    info = run.info
    return {
        "label": subject.label,
        "engine": subject.engine,
        "distribution": f"{source.distribution} {source.version}" if source is not None else "",
        "options": cleaner.options(subject.options),
        "image": cleaner.line(run.image) if run.image is not None else None,
        "profile": run.profile,
        "info": {
            "version": cleaner.line(info.version),
            "address": cleaner.line(info.address),
            "isolation": info.isolation.value,
            "rootless": info.rootless,
            "missing": {name.value: cleaner.line(why) for name, why in info.missing.items()},
            "details": {cleaner.line(name): cleaner.line(text) for name, text in info.details.items()},
        }
        if info is not None
        else None,
        "claimed": sorted(capability.value for capability in run.claimed),
        "unavailable": cleaner.line(run.unavailable),
        "partial": [cleaner.line(text) for text in run.partial],
        "problems": [cleaner.text(text) for text in run.problems],
        "ok": not found.failed,
        "conforms": found.conforms,
        "badge": badge(found.conforms),
        "counts": {verdict.value: run.counts[verdict] for verdict in Verdict if run.counts[verdict]},
        "duration": round(found.duration, 3),
        "results": [
            {
                "id": cleaner.line(result.id),
                "verdict": result.verdict.value,
                "reason": cleaner.line(result.reason),
                "duration": result.duration,
                "log": cleaner.text(result.log),
            }
            for result in run.results.values()
        ],
    }
