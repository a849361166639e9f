"""A document with every verdict and with texts that mean harm, for tests of what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from samebox.capabilities import Capability, Isolation
from samebox.compare.speed import MEASURES
from samebox.conformance.cleaning import Cleaner
from samebox.conformance.report.report import make_document
from samebox.conformance.runner import EngineRun, Subject
from samebox.conformance.verdicts import Run, TestResult, Verdict
from samebox.engine import EngineInfo

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "' onmouseover=document.title='owned' {{body}} ]]> \x1b[31mred\x1b[0m \x00 \u202e \udc80"
)
"""Text that a sandbox might print."""
ENVIRONMENT = {"SOME_TOKEN": "hunter2-and-more", "HOME": "/home/someone"}


def results(*, bad: bool) -> list[TestResult]:
    """Return a result of every verdict, or only good ones."""
    found = [
        TestResult("exec/argv-is-literal", Verdict.PASS, sentence="argv is passed as it is.", duration=0.004),
        TestResult("exec/output-is-bytes", Verdict.PASS, sentence="Output is bytes.", duration=0.002),
        TestResult(
            "network/none", Verdict.UNSUPPORTED, "network-none: no namespaces", ("network-none",), "No network.", 0.1
        ),
        TestResult("limits/memory", Verdict.HOST_MISSING, "memory-limit: no cgroup", ("memory-limit",), "A limit."),
    ]
    if bad:
        found[1] = TestResult(
            "exec/output-is-bytes", Verdict.FAIL, f"it printed {HOSTILE}", (), "Output is bytes.", 1.2,
            f"{HOSTILE}\nSOME_TOKEN=hunter2-and-more\nssh://me:geheim@host/",
        )  # fmt: skip
        found.append(
            TestResult("files/fifo", Verdict.KNOWN, "https://example.org/1: hangs", (), "A FIFO.", 20.0, "hung")
        )
    return found


def engine_run(label: str, *, bad: bool = False, unavailable: str = "") -> EngineRun:
    """Return a run of the suite on an engine that does not exist."""
    run = Run(
        label,
        image="busybox",
        claimed=frozenset({Capability.MEMORY_LIMIT, Capability.TMPFS}),
        info=None
        if unavailable
        else EngineInfo(
            label, "1.2", Isolation.CONTAINER, "unix:///run/x", missing={Capability.MEMORY_LIMIT: "no cgroup"},
            details={"runtime": "runc"},
        ),
        unavailable=unavailable,
    )  # fmt: skip
    for result in [] if unavailable else results(bad=bad):
        run.add(result)
    if bad:
        run.problems.append(f"a problem {HOSTILE}")
        run.partial.append("3 tests were deselected")
    options = {"url": "tcp://me:geheim@host:1", "password": "geheim2"} if bad else {}
    return EngineRun(Subject(label, label, options), run, [] if bad or unavailable else ["core"], 1.5)


def document() -> dict[str, Any]:
    """Return one with an engine that is good, one that is not and one that is not there."""
    runs = [
        engine_run("good"),
        engine_run("bad", bad=True),
        engine_run("gone", unavailable="nothing listens at unix:///run/gone"),
    ]
    return make_document(runs, datetime.now(UTC), Cleaner(ENVIRONMENT))


def comparison() -> dict[str, Any]:
    """Return a comparison of two engines that do not exist, one of which says things that mean harm."""
    found = document()
    found["engines"] = found["engines"][:2]
    speed = {"good": {m.name: [1.0, 2.0, 3.0] for m in MEASURES}, "bad": {m.name: [] for m in MEASURES}}
    posture = {"good": {"seccomp": "a filter"}, "bad": {"seccomp": f"<script>none</script> {HOSTILE}"}}
    notes = {"good": "1 init", "bad": f"<b> {HOSTILE}"}
    return {"conformance": found, "posture": posture, "speed": speed, "notes": notes}
