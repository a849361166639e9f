"""The page of a comparison in a real browser: whole without a network, harmless, filtered by its address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from browser import browse, screenshot, shown
from reports import comparison
from samebox.compare.page import compare_page

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of hostile texts."""
    path = tmp_path_factory.mktemp("compare") / "compare.html"
    path.write_text(compare_page(comparison()), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("", {"exec/output-is-bytes", "files/fifo"}),
        ("#verdict=KNOWN", {"files/fifo"}),
        ("#group=exec", {"exec/output-is-bytes"}),
        ("#text=nowhere", set()),
    ],
)
def test_filters(chromium: str, page: Path, fragment: str, expected: set[str]) -> None:
    """The tests that differ, and of them what the address asks for."""
    dom = browse(chromium, f"{page.as_uri()}{fragment}", "--dump-dom").stdout

    assert set(shown(dom)) == expected
    assert f">{len(expected)} of 2 tests<" in dom


def test_hostile_words_are_text(chromium: str, page: Path) -> None:
    """Nothing that an engine said becomes an element, an attribute or a script, in tables and in plots."""
    done = browse(chromium, page.as_uri(), "--dump-dom")
    dom = done.stdout

    assert "<title>samebox compare: good, bad</title>" in dom
    assert "<img" not in dom
    assert not re.search(r"<[^>]*\sonmouseover", dom)
    assert dom.count("<script>") == 1
    assert "&lt;script&gt;none" in dom
    assert dom.count("<svg") > 0
    assert "Content Security Policy" not in done.stderr, done.stderr  # its own style and script are in force


def test_page_asks_for_nothing(page: Path) -> None:
    """It names no address to load from: no link, no image, no import, no font."""
    markup = re.sub(r"&lt;.*?&gt;", "", page.read_text(encoding="utf-8"))

    assert not re.search(r"<(link|img|iframe|object|embed|base)\b|\bsrc=|@import|url\(", markup)


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
@pytest.mark.parametrize("width", [500, 1300])
def test_screenshot(chromium: str, page: Path, tmp_path: Path, scheme: int, width: int) -> None:
    """It is drawn in each colour scheme and width; the dark one is dark, the light one light."""
    color = screenshot(chromium, page.as_uri(), tmp_path / "page.png", scheme, width)

    assert (sum(color) < 150) is (scheme == 0), color
