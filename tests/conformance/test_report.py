"""The files of a report, the redaction, and the command line's words for engines."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from reports import document, engine_run
from samebox.cli.subjects import parse_subjects
from samebox.conformance.cleaning import Cleaner
from samebox.conformance.profiles import PROFILES
from samebox.conformance.recorder import run_record
from samebox.conformance.report.report import SCHEMA, write_report
from samebox.conformance.report.summary import conforms, write_summary
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_result_json_and_junit_agree(tmp_path: Path) -> None:
    """The same results, verdict by verdict, and an engine that is not there is an error."""
    write_report(tmp_path, document())
    found = json.loads((tmp_path / "result.json").read_text())
    root = ET.parse(tmp_path / "junit.xml").getroot()  # noqa: S314 - written a moment ago

    assert found["schema"] == SCHEMA
    assert [engine["ok"] for engine in found["engines"]] == [True, False, False]
    assert found["ok"] is False
    assert found["engines"][0]["badge"] == "samebox conformance 1.0: core"
    suites = {suite.get("name"): suite for suite in root}
    assert [suites["bad"].get(name) for name in ("tests", "failures", "errors", "skipped")] == ["6", "1", "1", "3"]
    assert [suites["gone"].get(name) for name in ("tests", "errors")] == ["1", "1"]


def test_json_fields_are_documented(request: pytest.FixtureRequest) -> None:
    """Each field of result.json is in docs/conformance.md."""
    page = (request.config.rootpath / "docs/conformance.md").read_text(encoding="utf-8")
    found = document()
    fields = {*found, *found["tests"][0], *found["host"], *found["engines"][0], *found["engines"][0]["info"]}
    fields |= set(found["engines"][0]["results"][0])

    assert not {field for field in fields if f"`{field}`" not in page}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TOKEN is s3cr3t!!", "TOKEN is [value of MY_TOKEN]"),
        ("'two\\nlines' hun\x1b[0mter2-x", "'[value of QUOTED]' [value of SPLIT]"),
        ("ssh://me:pw@host/x", "ssh://me:[redacted]@host/x"),
        ("/home/me is known, abc too", "/home/me is known, abc too"),
        ("a\x1b[1;31mb\x07\u202e\udcff", "ab\\x07\\x202e\\xdcff"),
    ],
)
def test_cleaning(text: str, expected: str) -> None:
    """Values of variables, passwords in URLs, and what would confuse a terminal or a page."""
    environment = {
        "MY_TOKEN": "s3cr3t!!",
        "QUOTED": "two\nlines",
        "SPLIT": "hunter2-x",
        "HOME": "/home/me",
        "SHORT": "abc",
    }

    assert Cleaner(environment).text(text) == expected


def test_a_flood_is_cut() -> None:
    """A log of megabytes keeps its beginning and its end."""
    text = Cleaner({}).text("a" * 100_000 + "end")

    assert len(text) < 33_000
    assert text.endswith("end")


def test_a_profile_shows_nothing_of_a_larger_one() -> None:
    """A run of `core` alone does not conform to `limits`, whose tests were not run."""
    run = engine_run("good").run
    run.results = {name: result for name, result in run.results.items() if not result.capabilities}
    run.claimed = PROFILES["limits"]
    run.info = None if run.info is None else type(run.info)("good", "1", run.info.isolation)

    run.profile = "core"
    assert conforms(run) == ["core"]
    assert run_record(run)["conforms"] == ["core"]
    written: list[str] = []
    terminal: Any = SimpleNamespace(
        section=written.append, write_line=lambda text, **_: written.append(text), _tw=SimpleNamespace(fullwidth=100)
    )
    write_summary(terminal, run)
    assert "samebox conformance 1.0: core" in written


def test_subjects() -> None:
    """One engine may be there twice; options and images go by label."""
    subjects = parse_subjects(["local", "other=local"], ["other.url=unix:///x=y"], ["busybox", "other=dir:/root=fs"])

    assert [(s.label, s.engine, dict(s.options), s.image) for s in subjects] == [
        ("local", "local", {}, "busybox"),
        ("other", "local", {"url": "unix:///x=y"}, "dir:/root=fs"),
    ]


@pytest.mark.parametrize(
    ("engines", "options", "message"),
    [
        (["local", "local"], [], "there twice"),
        (["nonsense"], [], "there is no engine 'nonsense'"),
        (["a b=local"], [], "a label has letters"),
        (["local"], ["url=x"], "an option is ENGINE.KEY=VALUE"),
        (["local"], ["podman.url=x"], "'podman' is none of local"),
    ],
)
def test_mistakes(engines: list[str], options: list[str], message: str) -> None:
    """The text names what is wrong."""
    with pytest.raises(ConfigError, match=message):
        parse_subjects(engines, options, [])
