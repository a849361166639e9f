"""report_page: the report of a document as one self-contained HTML page."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from samebox.conformance.report.markup import Markup, join, page, tag
from samebox.conformance.report.tables import capability_table, host_table, paragraphs, prose
from samebox.conformance.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARKS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.UNSUPPORTED: "—",
    Verdict.KNOWN: "!",
    Verdict.HOST_MISSING: "○",
    Verdict.ERROR: "⚠",
}
"""A mark for each verdict, so that verdicts differ by more than their colour."""
MEANINGS = {
    Verdict.PASS: "keeps the promise",
    Verdict.FAIL: "does not keep it, or claims another thing than it does",
    Verdict.UNSUPPORTED: "does not claim it, and refuses it in the right way",
    Verdict.KNOWN: "fails, and an issue is open about it",
    Verdict.HOST_MISSING: "claims it, and this host lacks what it takes; not run",
    Verdict.ERROR: "could not be asked",
}


def report_page(document: Mapping[str, Any]) -> str:
    """Return the page, which can be read without its script, as the script only filters."""
    engines = document["engines"]
    names = ", ".join(engine["label"] for engine in engines)
    keep = "keeps" if len(engines) == 1 else "keep"
    what = "what was tested of the contract" if any(engine["partial"] for engine in engines) else "the contract"
    verdict = f"{names} {keep} {what}" if document["ok"] else f"{_failing(engines)} not keep {what}"
    body = join(
        tag(
            "header",
            tag("h1", "samebox conformance"),
            tag("p", tag("strong", verdict, class_="good" if document["ok"] else "bad"), class_="lead"),
            tag(
                "p",
                f"Contract {document['contract']}, samebox {document['samebox']}, "
                f"{document['begun'][:16].replace('T', ' ')} UTC, {minutes(document['duration'])}",
                class_="muted",
            ),
        ),
        tag("section", *(_card(engine) for engine in engines), class_="cards"),
        tag("section", tag("h2", "Tests"), filters(document), matrix(document), id="tests"),
        tag("section", tag("h2", "Capabilities"), capability_table(document), id="capabilities"),
        tag("section", tag("h2", "Host and versions"), host_table(document), id="host"),
    )
    return page(f"samebox conformance: {names}", tag("main", body), columns=len(engines))


def _failing(engines: Sequence[Mapping[str, Any]]) -> str:
    names = [engine["label"] for engine in engines if not engine["ok"]]
    return f"{', '.join(names)} {'does' if len(names) == 1 else 'do'}"


def minutes(seconds: float) -> str:
    """Return a duration in the units that fit its size."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def chip(verdict: Verdict, text: str = "") -> Markup:
    """Return a verdict with its mark and colour, as the whole page shows it."""
    mark = tag("span", MARKS[verdict], class_="mark", aria_hidden="true")
    return tag("span", mark, text or verdict.value, class_=f"chip v-{verdict.value}", title=MEANINGS[verdict])


def _card(engine: Mapping[str, Any]) -> Markup:
    info = engine["info"]
    state = _state(engine)
    what = f"{engine['engine']} {info['version']}" if info else engine["engine"]
    parts = [
        tag(
            "h3",
            engine["label"],
            " ",
            tag("small", state, class_="good" if engine["ok"] else "bad"),
        ),
        tag("p", what + (", rootless" if info and info["rootless"] else ""), class_="muted"),
        _bar(engine["counts"]),
        tag("p", *(chip(Verdict(name), f"{name} {count}") for name, count in engine["counts"].items()), class_="chips"),
    ]
    if engine["badge"]:
        parts.append(tag("p", tag("code", engine["badge"]), class_="badge"))
    parts += [tag("p", f"ERROR: {text}", class_="bad") for text in (engine["unavailable"],) if text]
    parts += [tag("pre", text, class_="bad") for text in engine["problems"]]
    parts += [
        tag("p", f"PARTIAL: {text}; this says nothing of the whole contract", class_="warn")
        for text in engine["partial"]
    ]
    parts.append(tag("p", f"{len(engine['results'])} tests in {minutes(engine['duration'])}", class_="muted"))
    return tag("article", *parts, class_="card")


def _state(engine: Mapping[str, Any]) -> str:
    if engine["unavailable"]:
        return "ERROR"
    return "FAILS" if not engine["ok"] else "PARTIAL" if engine["partial"] else "KEEPS IT"


def _bar(counts: Mapping[str, int]) -> Markup:
    """Return the verdicts' shares as a bar."""
    total, at, parts = sum(counts.values()) or 1, 0.0, []
    for name, count in counts.items():
        width = 100 * count / total
        parts.append(tag("rect", x=f"{at:.3f}", y="0", width=f"{width:.3f}", height="4", class_=f"f-{name}"))
        at += width
    return tag("svg", *parts, class_="bar", viewBox="0 0 100 4", preserveAspectRatio="none", aria_hidden="true")


def filters(document: Mapping[str, Any], *, differ: bool = True) -> Markup:
    """Return the controls of the matrix, which the script shows, as they do nothing without the script."""
    used = [verdict for verdict in Verdict if any(verdict.value in engine["counts"] for engine in document["engines"])]
    if any(engine["unavailable"] for engine in document["engines"]) and Verdict.ERROR not in used:
        used.append(Verdict.ERROR)
    groups = list(dict.fromkeys(test["group"] for test in document["tests"]))
    options = [tag("option", "all groups", value=""), *(tag("option", group, value=group) for group in groups)]
    boxes = [
        tag(
            "button",
            tag("span", MARKS[verdict], class_="mark", aria_hidden="true"),
            verdict.value,
            type="button",
            class_=f"chip v-{verdict.value}",
            data_verdict=verdict.value,
            aria_pressed="false",
            title=MEANINGS[verdict],
        )
        for verdict in used
    ]
    differing = tag(
        "button",
        "where engines differ",
        type="button",
        class_="chip plain",
        data_differ="1",
        aria_pressed="false",
    )
    return tag(
        "form",
        tag("input", type="search", id="f-text", placeholder="Find in names, reasons and logs", aria_label="Find"),
        tag("select", *options, id="f-group", aria_label="Group"),
        tag("div", *boxes, *([differing] if differ and len(document["engines"]) > 1 else []), class_="chips"),
        tag("output", "", id="f-count", class_="muted"),
        class_="filters",
        hidden=True,
    )


def matrix(document: Mapping[str, Any]) -> Markup:
    """Return the tests by engine: a line for each test, which opens to the reasons and logs."""
    engines = document["engines"]
    found = [{result["id"]: result for result in engine["results"]} for engine in engines]
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for test in document["tests"]:
        groups[test["group"]].append(test)
    head = tag(
        "div",
        tag("span", "test"),
        *(tag("span", engine["label"], class_="engine") for engine in engines),
        class_="row head",
    )
    parts = [
        tag(
            "section",
            tag("h3", name, " ", tag("small", f"{len(tests)} tests" if len(tests) > 1 else "1 test")),
            *(_test(test, engines, found) for test in tests),
            class_="group",
            data_group=name,
        )
        for name, tests in groups.items()
    ]
    return tag("div", head, *parts, class_="matrix")


def _test(
    test: Mapping[str, Any], engines: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Mapping[str, Any]]]
) -> Markup:
    cells, accounts, verdicts = [], [], []
    for engine, results in zip(engines, found, strict=True):
        result = results.get(test["id"])
        verdict = Verdict(result["verdict"]) if result else Verdict.ERROR if engine["unavailable"] else None
        verdicts.append(verdict.value if verdict else "NOT-RUN")
        shown = chip(verdict) if verdict else tag("span", "not run", class_="muted")
        time = tag("small", minutes(result["duration"])) if result else Markup("")
        cells.append(tag("span", tag("b", engine["label"], class_="label"), shown, time, class_="cell"))
        accounts.append(_account(engine, result, shown, time))
    asked = ", ".join(test["capabilities"])
    name = test["id"].partition("/")[2]
    return tag(
        "details",
        tag(
            "summary",
            tag("span", tag("code", name), tag("small", prose(test["sentence"])), class_="name"),
            *cells,
            class_="row",
        ),
        tag(
            "div",
            tag("p", "asks for ", tag("b", asked)) if asked else tag("p", "owed by every engine"),
            paragraphs(test["why"]),
            *accounts,
            class_="inside",
        ),
        class_="test",
        open=any(verdict in {"FAIL", "KNOWN"} for verdict in verdicts),
        data_verdicts=" ".join(verdicts),
        id=test["id"],
    )


def _account(engine: Mapping[str, Any], result: Mapping[str, Any] | None, shown: Markup, time: Markup) -> Markup:
    reason = result["reason"] if result else engine["unavailable"]
    log = tag("pre", result["log"], tabindex="0") if result and result["log"] else Markup("")
    return tag("div", tag("p", tag("b", engine["label"]), " ", shown, " ", time, " ", reason), log, class_="account")
