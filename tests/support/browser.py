"""A real browser, for the pages of reports."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def find_chromium() -> str:
    """Return the browser's path; where the engines are required, it is too."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "there is no chromium on PATH: install the package of that name"
        (pytest.fail if os.environ.get("SAMEBOX_REQUIRE_ENGINES") else pytest.skip)(message)
    return found


def browse(chromium: str, address: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Open an address in a browser of its own."""
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--enable-logging=stderr",
    ]
    done = subprocess.run(
        [chromium, *flags, *more, address], capture_output=True, text=True, timeout=50, check=False, errors="replace"
    )
    assert done.returncode == 0, done.stderr
    return done


def shown(dom: str) -> list[str]:
    """Return the ids of the tests that are not hidden."""
    return [
        re.search(r' id="([^"]+)"', attributes)[1]  # type: ignore[index]
        for attributes in re.findall(r"<details ([^>]*)>", dom)
        if "hidden" not in attributes
    ]


def screenshot(chromium: str, address: str, picture: Path, scheme: int, width: int) -> tuple[int, int, int]:
    """Draw a page and return the red, green and blue of its first pixel.

    Args:
        chromium: The browser.
        address: The page's.
        picture: Where to draw it.
        scheme: 0 for dark, 1 for light.
        width: In pixels.
    """
    settings = [f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={width},900"]
    browse(chromium, address, *settings, f"--screenshot={picture}")
    data = picture.read_bytes()
    assert struct.unpack_from(">II", data, 16) == (width, 900)
    assert len(data) > 20_000
    # The first pixel's bytes are as they are, whatever filter its row has.
    red, green, blue = zlib.decompressobj().decompress(_image_data(data), 4)[1:]
    return red, green, blue


def _image_data(png: bytes) -> bytes:
    """Return the content of a PNG's IDAT chunks."""
    found, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        if kind == b"IDAT":
            found += png[at + 8 : at + 8 + size]
        at += 12 + size
    return found
