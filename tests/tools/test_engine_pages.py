"""The pages that are made of the suite's results: that they are up to date, and what they say of results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import engine_pages
from engine_pages import BEGIN, CONFIGURATION, DOCS, END, ENGINES, STORE
from engine_summary import merge, summarise
from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = ("network/none", "network/named")
AGAIN = "run `python tools/engine_pages.py`"


def result(engine: str = "docker", version: str = "28.5.2+x", **changes: Any) -> dict[str, Any]:
    """Return a small result.json of one engine."""
    tests = [
        {"id": "limits/memory", "capabilities": ["memory-limit"], "fields": ["memory"]},
        {"id": "network/none", "capabilities": ["network-none"], "fields": ["network"]},
        {"id": "network/named", "capabilities": ["network-named"], "fields": ["network"]},
        {"id": "both/two", "capabilities": ["gpus", "memory-limit"], "fields": ["gpus"]},
    ]
    entry = {
        "label": "it",
        "engine": engine,
        "info": {
            "version": version,
            "rootless": False,
            "isolation": "container",
            "missing": {"memory-limit": "no cgroups; do: this"},
            "details": {"runtime": "runc"},
        },
        "claimed": ["memory-limit", "network-none"],
        "partial": [],
        "unavailable": "",
        "conforms": ["core"],
        "counts": {"PASS": 1, "UNSUPPORTED": 2, "HOST-MISSING": 1},
        "results": [
            {
                "id": "limits/memory",
                "verdict": "HOST-MISSING",
                "reason": "memory-limit: no cgroups; do: this",
            },
            {"id": "network/none", "verdict": "PASS", "reason": ""},
            {
                "id": "network/named",
                "verdict": "UNSUPPORTED",
                "reason": "network-named: no | such thing (asked for by network='x')",
            },
            {"id": "both/two", "verdict": "UNSUPPORTED", "reason": "gpus: no such thing on this engine"},
        ],
    }
    host = {"root": True, "system": "Debian", "kernel": "6.18.44-x", "machine": "x86_64"}
    document = {"begun": "2026-01-02T03:04:05+00:00", "samebox": "1.0", "host": host, "tests": tests}
    return {**document, "engines": [entry | changes]}


def row(page: str, name: str) -> list[str]:
    """Return the cells of the last row of that name, without the first one."""
    line = [line for line in page.splitlines() if line.startswith(f"| `{name}`")][-1]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def settings(*documents: dict[str, Any]) -> str:
    """Return the page of settings that is made of these results."""
    summaries = [summary for document in documents for summary in summarise(document)]
    return engine_pages.configuration_page(f"Head\n\n{BEGIN}old\n{END}foot\n", merge([], summaries))


def test_pages_are_up_to_date() -> None:
    """They are what the generator makes of the stored summary, of the settings and capabilities that there are now."""
    summaries = json.loads((DOCS / STORE).read_text(encoding="utf-8"))
    configuration = (DOCS / CONFIGURATION).read_text(encoding="utf-8")

    assert engine_pages.engines_page(summaries) == (DOCS / ENGINES).read_text(encoding="utf-8"), AGAIN
    assert engine_pages.configuration_page(configuration, summaries) == configuration, AGAIN
    assert merge(summaries, []) == summaries


def test_pages_leave_nothing_out() -> None:
    """Each setting, each capability, and each engine that CI and the matrix run."""
    engines = (DOCS / ENGINES).read_text(encoding="utf-8")
    configuration = (DOCS / CONFIGURATION).read_text(encoding="utf-8")

    for capability in Capability:
        assert len(row(engines, capability.value)) >= 6, AGAIN
    for field in SandboxConfig.model_fields:
        assert f"`{field}`" in configuration, AGAIN
    for name in (
        "local, as root",
        "bubblewrap, as root",
        "bubblewrap, as a user",
        "Docker, rootless",
        "Podman, rootless",
    ):
        assert f"| {name} |" in engines
    for name in ("Docker | 20.10.", "Docker | 26.", "Docker | 28.", "Podman | 4.3.", "Podman | 5.4.", "Podman | 5.8."):
        assert f"| {name}" in engines
    assert "FAIL" not in engines


def test_cells() -> None:
    """A setting works, is refused, is not to be had on the host, or works in part; each with its reason."""
    page = settings(result())

    assert (row(page, "memory"), row(page, "gpus")) == (["host (2)"], ["no (3)"])
    assert row(page, "network") == ["yes, network-named no (1)"]
    neither = result(results=[{"id": name, "verdict": "UNSUPPORTED", "reason": "x: no"} for name in NETWORK])
    assert row(settings(neither), "network") == ["no (1)"]
    assert row(page, "cpus") == ["not run yet"]
    assert page.startswith(f"Head\n\n{BEGIN}")
    assert page.endswith(f"{END}foot\n")
    # Without what the suite adds, and so that the text is no table.
    assert "1. no \\| such thing\n2. no cgroups; do: this\n3. no such thing on this engine\n" in page


def test_versions_of_an_engine_share_a_column() -> None:
    """And are told apart where they differ."""
    older = result(version="26.1.5", results=[{"id": "limits/memory", "verdict": "PASS", "reason": ""}])
    page = settings(result(), result("bubblewrap", "0.8.0"), older)

    assert "| | bubblewrap, as root | Docker |" in page
    assert row(page, "memory") == ["host (2)", "28.5: host (2); 26.1: yes"]


def test_capabilities() -> None:
    """By what the engine claims and the host lacks, with the reason that the suite saw."""
    page = engine_pages.engines_page(summarise(result()))

    assert row(page, "network-none") == ["yes"]
    assert (row(page, "memory-limit"), row(page, "network-named")) == (["host (2)"], ["no (1)"])
    assert "| Docker | 28.5.2+x | 1 | 2 | 1 | core | host 1, runtime runc | 2026-01-02 |" in page
    assert "(1) Debian, Linux 6.18, x86_64." in page


def test_failure_is_not_hidden() -> None:
    """What a claimed capability's test found stands in its cell."""
    results = [{"id": "network/none", "verdict": "FAIL", "reason": "over-claim of network-none: eth0"}]
    found = result(results=results, counts={"FAIL": 1})

    assert row(engine_pages.engines_page(summarise(found)), "network-none") == ["FAILS (1)"]
    assert row(settings(found), "network") == ["FAILS (1)"]


def test_later_result_replaces_the_same_version() -> None:
    """Whatever its patch release; another version, a rootless one and another user's stay."""
    first = summarise(result()) + summarise(result(version="26.1.5"))
    later = summarise(result(version="28.5.9"))

    assert [summary["version"] for summary in merge(first, later)] == ["26.1.5", "28.5.9"]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It takes files and directories, leaves out runs that are not whole and says so, and writes where it is told."""
    for name, document in {"a": result(version="99.1"), "b": result(partial=["1 test was deselected"])}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "result.json").write_text(json.dumps(document))

    assert engine_pages.main([str(tmp_path / "in"), "--write", str(tmp_path / "out")]) == 0
    assert "| Docker | 99.1 |" in (tmp_path / "out" / ENGINES).read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {STORE, ENGINES, CONFIGURATION}
    assert capsys.readouterr().err == "left out: it: 1 test was deselected\n"
    assert engine_pages.main([str(tmp_path / "none.json"), "--write", str(tmp_path / "out")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_page_without_a_place_for_the_table() -> None:
    """It is not written over."""
    with pytest.raises(ValueError, match=r"configuration\.md has no lines"):
        engine_pages.configuration_page("nothing", [])
