"""The page in a real browser: whole without a network, harmless whatever a sandbox printed, filtered by its address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from browser import browse, screenshot, shown
from reports import HOSTILE, document
from samebox.conformance.report.report import write_report

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of hostile texts."""
    directory = tmp_path_factory.mktemp("report")
    write_report(directory, document())
    return directory / "report.html"


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("", {"exec/argv-is-literal", "exec/output-is-bytes", "files/fifo", "limits/memory", "network/none"}),
        ("#verdict=FAIL", {"exec/output-is-bytes"}),
        ("#verdict=KNOWN,HOST-MISSING", {"files/fifo", "limits/memory"}),
        ("#group=network", {"network/none"}),
        ("#text=onmouseover%20PRINTED", {"exec/output-is-bytes"}),
        ("#text=hung&group=exec", set()),
    ],
)
def test_filters(chromium: str, report: Path, fragment: str, expected: set[str]) -> None:
    """By verdict, text and group, as the address says."""
    dom = browse(chromium, f"{report.as_uri()}{fragment}", "--dump-dom").stdout

    assert set(shown(dom)) == expected
    assert f">{len(expected)} of 5 tests<" in dom


def test_hostile_output_is_text(chromium: str, report: Path) -> None:
    """Nothing that a sandbox printed becomes an element, an attribute or a script."""
    done = browse(chromium, report.as_uri(), "--dump-dom")
    dom = done.stdout

    assert "<title>samebox conformance: good, bad, gone</title>" in dom
    assert "<img" not in dom
    assert not re.search(r"<[^>]*\sonmouseover", dom)
    assert dom.count("<script>") == 1
    assert "&lt;img src=x onerror=" in dom
    assert "Content Security Policy" not in done.stderr, done.stderr  # its own style and script are in force


def test_secrets_and_control_characters_are_not_there(report: Path) -> None:
    """Environment values, passwords in URLs and options are redacted in each file; control characters are visible."""
    for path in report.parent.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search("hunter2|geheim", text), path
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", text), path
        assert "value of SOME_TOKEN" in text, path
    assert "\x1b" in HOSTILE


def test_page_asks_for_nothing(report: Path) -> None:
    """It names no address to load from: no link, no image, no import, no font."""
    page = report.read_text(encoding="utf-8")
    markup = re.sub(r"&lt;.*?&gt;", "", page)

    assert not re.search(r"<(link|img|iframe|object|embed|base)\b|\bsrc=|@import|url\(", markup)
    assert "default-src &#x27;none&#x27;" in page


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
@pytest.mark.parametrize("width", [500, 1300])
def test_screenshot(chromium: str, report: Path, tmp_path: Path, scheme: int, width: int) -> None:
    """It is drawn in each colour scheme and width; the dark one is dark, the light one light."""
    color = screenshot(chromium, report.as_uri(), tmp_path / "page.png", scheme, width)

    assert (sum(color) < 150) is (scheme == 0), color
