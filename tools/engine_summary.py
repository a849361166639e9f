"""Summary: the part of the conformance suite's results that the pages of the documentation need."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.conformance.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAMES = {"docker": "Docker", "podman": "Podman"}
DAEMONS = frozenset(NAMES)
"""The engines whose daemon makes the asking user irrelevant."""
STATES = {
    Verdict.PASS: "yes",
    Verdict.UNSUPPORTED: "no",
    Verdict.HOST_MISSING: "host",
    Verdict.KNOWN: "known failure",
    Verdict.FAIL: "FAILS",
    Verdict.ERROR: "FAILS",
}

Summary = dict[str, Any]
"""The part of one engine's results that the pages need, as plain values."""
Cell = list[tuple[str, str, str]]
"""The entries for one capability or setting on one engine: each a state, the capability that it is about, and why."""


def summarise(document: Mapping[str, Any]) -> list[Summary]:
    """Return the summaries of a result.json; engines on which not the whole suite was run are left out.

    Args:
        document: The content of the result.json.
    """
    found = []
    for engine in document["engines"]:
        if engine["partial"] or engine["info"] is None:
            why = engine["unavailable"] or ", ".join(engine["partial"])
            print(f"left out: {engine['label']}: {why}", file=sys.stderr)
            continue
        info, host = engine["info"], document["host"]
        found.append(
            {
                "engine": engine["engine"],
                # An engine without a version of its own has the kernel's, which ends with a name that the kernel's
                # builder chose.
                "version": info["version"].partition("-")[0],
                "rootless": info["rootless"],
                "root": host["root"],
                "isolation": info["isolation"],
                "details": {name: info["details"].get(name, "") for name in ("runtime", "cgroup")},
                "host": f"{host['system']}, Linux {'.'.join(host['kernel'].split('.')[:2])}, {host['machine']}",
                "date": document["begun"][:10],
                "samebox": document["samebox"],
                "conforms": engine["conforms"],
                "counts": engine["counts"],
                "capabilities": _capabilities(engine, document["tests"]),
                "settings": _settings(engine, document["tests"]),
            }
        )
    return found


def _capabilities(engine: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> dict[str, Cell]:
    asks = {test["id"]: test["capabilities"] for test in tests}
    missing = engine["info"]["missing"]
    found: dict[str, Cell] = {}
    for name in (capability.value for capability in Capability):
        results = [result for result in engine["results"] if name in asks.get(result["id"], ())]
        failed = [result for result in results if result["verdict"] in {"FAIL", "ERROR", "KNOWN"}]
        refused = [_why(str(result["reason"]), name) for result in results if result["verdict"] == "UNSUPPORTED"]
        if failed:
            found[name] = [("FAILS", name, failed[0]["reason"])]
        elif name in missing:
            found[name] = [("host", name, missing[name])]
        elif name in engine["claimed"]:
            found[name] = [("yes", name, "")] if results else []
        else:
            found[name] = [("no", name, next(filter(None, refused), ""))] if results else []
    return found


def _settings(engine: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> dict[str, Cell]:
    verdicts = {result["id"]: result for result in engine["results"]}
    found: dict[str, Cell] = {}
    for test in tests:
        for field in test.get("fields", ()):
            result = verdicts.get(test["id"])
            if result is None:
                continue
            capability = result["reason"].partition(":")[0]
            about = capability if capability in test["capabilities"] else ""
            reason = "" if result["verdict"] == "PASS" else _why(result["reason"], about)
            entry = (STATES[Verdict(result["verdict"])], about, reason)
            found.setdefault(field, [])
            if entry not in found[field]:
                found[field].append(entry)
    return found


def _why(reason: str, capability: str) -> str:
    """Return a reason without the capability before it, and without the other capabilities that the same test lacks."""
    names = "|".join(re.escape(name) for name in Capability)
    found = re.search(rf"(?:^|; ){re.escape(capability)}: (.*?)(?=; (?:{names}): |$)", reason) if capability else None
    text = found[1] if found is not None else reason
    return re.sub(r" \(asked for by .*\)$", "", str(text))


def key(summary: Summary) -> tuple[Any, ...]:
    """Return the key that is equal for results of the same engine and version, and by which the pages are sorted."""
    order = ("bubblewrap", "docker", "podman")
    name = summary["engine"]
    version = tuple(int(part) for part in re.findall(r"\d+", summary["version"])[:2])
    as_root = True if name in DAEMONS else summary["root"]
    return order.index(name) if name in order else len(order), name, summary["rootless"], not as_root, version


def family(summary: Summary) -> str:
    """Return the heading of a column."""
    engine = str(summary["engine"])
    name = NAMES.get(engine, engine)
    if engine in DAEMONS:
        return f"{name}, rootless" if summary["rootless"] else name
    return f"{name}, as root" if summary["root"] else f"{name}, as a user"


def short(summary: Summary) -> str:
    """Return a version in short, as people say it."""
    return ".".join(re.findall(r"\d+", summary["version"])[:2])


def merge(old: Iterable[Summary], new: Iterable[Summary]) -> list[Summary]:
    """Return all summaries, sorted; a new summary replaces an old summary of the same engine in the same version."""
    return [summary for _, summary in sorted({key(summary): summary for summary in [*old, *new]}.items())]
