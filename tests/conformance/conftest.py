"""The browser that reports are opened in."""

from __future__ import annotations

import pytest

from browser import find_chromium


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; where the engines are required, it is too."""
    return find_chromium()
