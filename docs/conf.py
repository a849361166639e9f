"""How Sphinx builds the documentation."""

from __future__ import annotations

project = "samebox"
author = "the samebox authors"
copyright = f"2026, {author}"  # noqa: A001, Sphinx's name for it

extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["examples", "_build", "changelog"]
nitpicky = True

html_theme = "furo"
html_title = "samebox"
