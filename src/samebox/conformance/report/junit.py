"""junit: a document as JUnit's XML, with a suite for each engine, for programs that collect test results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from samebox.conformance.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

_SKIPPED = {Verdict.UNSUPPORTED, Verdict.HOST_MISSING, Verdict.KNOWN}


def junit(document: Mapping[str, Any]) -> str:
    """Return a document as XML; a test whose verdict is none of PASS, FAIL and ERROR counts as skipped."""
    root = ET.Element("testsuites", name="samebox conformance", time=_seconds(document["duration"]))
    for engine in document["engines"]:
        _suite(root, engine, document["begun"])
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, engine: Mapping[str, Any], begun: str) -> None:
    results = engine["results"]
    suite = ET.SubElement(root, "testsuite", name=engine["label"], timestamp=begun, time=_seconds(engine["duration"]))
    properties = ET.SubElement(suite, "properties")
    info = engine["info"] or {}
    for name, value in (
        ("engine", engine["engine"]),
        ("version", info.get("version", "")),
        ("isolation", info.get("isolation", "")),
        ("conforms", ", ".join(engine["conforms"])),
        ("partial", "; ".join(engine["partial"])),
    ):
        ET.SubElement(properties, "property", name=name, value=value)
    for result in results:
        group, _, name = result["id"].partition("/")
        case = ET.SubElement(
            suite, "testcase", classname=f"{engine['label']}.{group}", name=name, time=_seconds(result["duration"])
        )
        verdict = Verdict(result["verdict"])
        if verdict in _SKIPPED:
            ET.SubElement(case, "skipped", message=f"{verdict}: {result['reason']}")
        elif verdict is not Verdict.PASS:
            failure = ET.SubElement(case, "error" if verdict is Verdict.ERROR else "failure", message=result["reason"])
            failure.text = result["log"]
    run_errors = [text for text in (engine["unavailable"], *engine["problems"]) if text]
    for number, text in enumerate(run_errors, 1):
        case = ET.SubElement(suite, "testcase", classname=f"{engine['label']}.run", name=f"problem-{number}")
        ET.SubElement(case, "error", message=text)
    verdicts = [Verdict(result["verdict"]) for result in results]
    suite.set("tests", str(len(results) + len(run_errors)))
    suite.set("failures", str(verdicts.count(Verdict.FAIL)))
    suite.set("errors", str(verdicts.count(Verdict.ERROR) + len(run_errors)))
    suite.set("skipped", str(sum(verdict in _SKIPPED for verdict in verdicts)))


def _seconds(value: float) -> str:
    return f"{value:.3f}"
