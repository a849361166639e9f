"""compare_page: the HTML page of two engines side by side, for a team that chooses an engine."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.compare.plots import number_text, plot
from samebox.compare.speed import EXEC, MEASURES, MEMORY
from samebox.conformance.report.markup import Markup, join, page, tag
from samebox.conformance.report.page import filters, matrix
from samebox.conformance.report.tables import capability_state, capability_table, host_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def compare_page(document: Mapping[str, Any]) -> str:
    """Return the page of a comparison.

    Args:
        document: The comparison that `samebox.cli.compare` put together; docs/conformance.md describes its fields.
    """
    found = document["conformance"]
    labels = [engine["label"] for engine in found["engines"]]
    differing = [
        capability.value
        for capability in Capability
        if len({capability_state(engine, capability.value) for engine in found["engines"]}) > 1
    ]
    behaviour = _differing_tests(found)
    partial = any(engine["partial"] for engine in found["engines"])
    said = f"{len(behaviour['tests'])} of {len(found['tests'])} tests of the contract differ"
    body = [
        tag(
            "header",
            tag("h1", " and ".join(labels)),
            tag("p", "compared by samebox, on this host", class_="lead"),
            tag("p", f"samebox {found['samebox']}, {found['begun'][:16].replace('T', ' ')} UTC", class_="muted"),
        ),
        tag("section", tag("h2", "At a glance"), _glance(document, labels)),
        tag(
            "section",
            tag("h2", "Capabilities that differ"),
            capability_table(found, differing)
            if differing
            else tag("p", "None: both claim the same, and have it here."),
        ),
        tag(
            "section",
            tag("h2", "Behaviour that differs"),
            tag("p", said + ("; not all of them were run." if partial else "."), class_="warn" if partial else "muted"),
            *((filters(behaviour, differ=False), matrix(behaviour)) if behaviour["tests"] else ()),
        ),
        tag("section", tag("h2", "Security posture"), _side_by_side(document["posture"], labels)),
        tag("section", tag("h2", "Speed"), _speed(document, labels)),
        tag("section", tag("h2", "Host and versions"), host_table(found)),
    ]
    return page(f"samebox compare: {', '.join(labels)}", tag("main", *body), columns=len(labels))


def _differing_tests(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with only the tests on which the engines differ."""
    verdicts = [{result["id"]: result["verdict"] for result in engine["results"]} for engine in found["engines"]]
    tests = [test for test in found["tests"] if len({results.get(test["id"]) for results in verdicts}) > 1]
    ids = {test["id"] for test in tests}
    engines = []
    for engine in found["engines"]:
        results = [result for result in engine["results"] if result["id"] in ids]
        counts = dict.fromkeys((result["verdict"] for result in results), 1)
        engines.append({**engine, "results": results, "counts": counts})
    return {**found, "tests": tests, "engines": engines}


def _glance(document: Mapping[str, Any], labels: Sequence[str]) -> Markup:
    engines = document["conformance"]["engines"]
    rows: dict[str, list[str]] = {
        "contract": [_contract(engine) for engine in engines],
        "isolation": [engine["info"]["isolation"] if engine["info"] else "not reached" for engine in engines],
        "capabilities on this host": [
            str(sum(capability_state(engine, capability.value) == "yes" for capability in Capability))
            for engine in engines
        ],
    }
    for measure in (*MEASURES, MEMORY):
        samples = [document["speed"].get(label, {}).get(measure.name) for label in labels]
        if measure in {MEASURES[0], EXEC, MEMORY}:
            rows[measure.name] = [
                f"{number_text(statistics.median(found))} {measure.unit}" if found else "not measured"
                for found in samples
            ]
    return _table(rows, labels)


def _contract(engine: Mapping[str, Any]) -> str:
    if engine["unavailable"]:
        return f"ERROR: {engine['unavailable']}"
    words = ", ".join(f"{name} {count}" for name, count in engine["counts"].items())
    kept = "not kept" if not engine["ok"] else "kept in part of the tests" if engine["partial"] else "kept"
    return f"{kept}: {words}" + (f"; profiles {', '.join(engine['conforms'])}" if engine["conforms"] else "")


def _side_by_side(answers: Mapping[str, Mapping[str, str]], labels: Sequence[str]) -> Markup:
    questions = dict.fromkeys(question for found in answers.values() for question in found)
    return _table(
        {question: [answers.get(label, {}).get(question, "unknown") for label in labels] for question in questions},
        labels,
    )


def _table(rows: Mapping[str, Sequence[str]], labels: Sequence[str]) -> Markup:
    """Return a table of answers; a row whose answers differ is marked."""
    lines = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(tag("td", text) for text in texts),
            class_="differs" if len(set(texts)) > 1 else None,
        )
        for name, texts in rows.items()
    ]
    head = tag("tr", tag("th", ""), *(tag("th", label, scope="col") for label in labels))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *lines)), class_="scroll", tabindex="0")


def _speed(document: Mapping[str, Any], labels: Sequence[str]) -> Markup:
    figures = []
    for measure in (*MEASURES, MEMORY):
        better = "more is better" if measure.throughput else "less is better"
        series = {label: document["speed"].get(label, {}).get(measure.name, []) for label in labels}
        figures.append(plot(measure.name, f"{measure.what}; {better}.", measure.unit, series))
    notes = [tag("p", f"{label}: {text}", class_="muted") for label, text in document["notes"].items() if text]
    return join(
        tag("p", "The bar ends at the median, each dot is a sample, taken on the engines in turn.", class_="muted"),
        tag("div", *figures, class_="plots"),
        tag("h3", "Memory: the processes of one sandbox"),
        *notes,
    )
