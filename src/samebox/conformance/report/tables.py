"""capability_table and host_table: the tables of a page, with capabilities by engine, the host and the versions."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.conformance.report.markup import Markup, join, tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@cache
def questions() -> dict[str, str]:
    """Return the question that each capability stands for, from the capability's docstring in the source."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(Capability)).body if isinstance(node, ast.ClassDef))
    found = {}
    for node, text in pairwise(body):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(text, ast.Expr):
            found[Capability[node.targets[0].id].value] = str(ast.literal_eval(text.value))
    return found


def capability_state(engine: Mapping[str, Any], capability: str) -> str:
    """Return "yes", "no", "missing" (claimed, but not on this host) or "unknown" (the engine was not reached)."""
    if capability not in engine["claimed"]:
        return "no"
    if engine["info"] is None:
        return "unknown"
    return "missing" if capability in engine["info"]["missing"] else "yes"


def capability_table(document: Mapping[str, Any], only: Iterable[str] | None = None) -> Markup:
    """Return the capabilities by engine, with the counts of the verdicts of each capability's tests.

    Args:
        document: The results of the suite.
        only: The capabilities to show; default: all.
    """
    engines = document["engines"]
    asked = {test["id"]: test["capabilities"] for test in document["tests"]}
    rows = [
        tag(
            "tr",
            tag("th", tag("code", name), tag("small", prose(questions().get(name, ""))), scope="row"),
            *(_capability(engine, name, asked) for engine in engines),
        )
        for name in (only if only is not None else [capability.value for capability in Capability])
    ]
    head = tag("tr", tag("th", "capability", scope="col"), *(tag("th", e["label"], scope="col") for e in engines))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll", tabindex="0")


def _capability(engine: Mapping[str, Any], name: str, asked: Mapping[str, list[str]]) -> Markup:
    state = capability_state(engine, name)
    words = {"yes": "✓ yes", "no": "— no", "missing": "○ not on this host", "unknown": "claimed, not reached"}
    style = {"yes": "v-PASS", "no": "v-UNSUPPORTED", "missing": "v-HOST-MISSING", "unknown": "v-ERROR"}
    counts = Counter(result["verdict"] for result in engine["results"] if name in asked.get(result["id"], ()))
    seen = ", ".join(f"{verdict} {count}" for verdict, count in counts.items())
    why = engine["info"]["missing"].get(name, "") if engine["info"] else ""
    parts = [tag("small", text) for text in (why, seen) if text]
    return tag("td", tag("span", words[state], class_=f"chip {style[state]}"), *parts)


def facts(rows: Iterable[tuple[str, str]]) -> Markup:
    """Return names and values as a table of two columns."""
    return tag(
        "table",
        *(tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows if value),
        class_="facts",
    )


def host_table(document: Mapping[str, Any]) -> Markup:
    """Return the facts about the host and the engines, and the versions of all distributions that were used."""
    host = document["host"]
    rows = [
        ("system", f"{host['system']}, Linux {host['kernel']}, {host['machine']}"),
        ("processors, memory", f"{host['cpus']}, {host['memory'] / 2**30:.1f} GiB"),
        ("run as", "root" if host["root"] else "an ordinary user"),
        ("Python", host["python"]),
        ("distributions", ", ".join(f"{name} {version}" for name, version in document["packages"].items())),
    ]
    parts = [tag("h3", "this host"), facts(rows)]
    for engine in document["engines"]:
        info = engine["info"]
        parts.append(tag("h3", engine["label"]))
        own = [("engine", f"{engine['engine']}, of {engine['distribution']}")]
        if info is not None:
            own += [
                ("version", info["version"]),
                ("address", info["address"]),
                ("isolation", info["isolation"] + (", rootless" if info["rootless"] else "")),
                *info["details"].items(),
            ]
        own += [
            ("image", engine["image"] or "the engine's own default"),
            ("profile", engine["profile"] or ""),
            *((f"option {name}", value) for name, value in engine["options"].items()),
        ]
        parts.append(facts(own))
    return join(*parts)


def prose(text: str) -> Markup:
    """Return a docstring's text, with the parts in backticks as code."""
    parts = text.split("`")
    return join(*(tag("code", part) if number % 2 else part for number, part in enumerate(parts)))


def paragraphs(text: str) -> Markup:
    """Return a docstring's text as paragraphs."""
    return join(*(tag("p", prose(" ".join(part.split()))) for part in text.split("\n\n") if part.strip()))
