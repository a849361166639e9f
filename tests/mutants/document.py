"""Write docs/mutants.md: `python tests/mutants/document.py`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "mutants.md"
HEAD = """# Mutants: how the suite is tested

Each of these {count} engines is the `local` one with a single defect. The conformance suite has to fail on every one of
them, by the tests that are named, while it passes on the engine without the defect; `tests/mutants/` runs them, and CI
with it.
A defect that no test catches is a gap in the suite, and gets a test.

This page is written by `python tests/mutants/document.py` from `tests/support/mutants/`.
"""


def page() -> str:
    """Return the page's text."""
    from mutants import GROUPS, MUTANTS  # noqa: PLC0415 - a script has to find it first

    parts = [HEAD.format(count=len(MUTANTS))]
    for module, heading in GROUPS.items():
        parts.append(f"## {heading}\n\n| mutant | what is broken | caught by |\n|---|---|---|")
        for mutant in MUTANTS.values():
            if mutant.group == module.__name__:
                caught = ", ".join(f"`{test}`" for test in mutant.caught_by)
                parts.append(f"| {mutant.name} | {mutant.broken} | {caught} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    PAGE.write_text(page(), encoding="utf-8")
