"""The modules of the agent's C sources: python3 tools/c_modules.py [DIRECTORY] ends with 1 where they form a circle.

A module is NAME.c with NAME.h, or either alone; it uses the modules whose headers it includes. So that the includes say
all, a header declares only functions that its own NAME.c defines.
"""

from __future__ import annotations

import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src" / "samebox" / "agent" / "csrc"
_INCLUDE = re.compile(r'^#include "([\w./-]+)\.h"$', re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DECLARATION = re.compile(r"^(?!typedef|static|#)\w[\w\s*]*?\b(\w+)\([^;{}]*\)[^;{}]*;", re.MULTILINE)
_DEFINITION = re.compile(r"^\w[\w\s*]*?\b(\w+)\([^;{}]*\)\s*\{", re.MULTILINE)


def uses(directory: Path) -> dict[str, set[str]]:
    """Return the modules of a directory, each with the modules that it uses."""
    found: dict[str, set[str]] = {}
    for path in sorted([*directory.glob("*.c"), *directory.glob("*.h")]):
        used = set(_INCLUDE.findall(path.read_text(encoding="utf-8")))
        found[path.stem] = found.get(path.stem, set()) | used - {path.stem}
    return found


def circle(modules: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle, each used by the one before it; [] where there is none."""
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def strangers(directory: Path) -> list[str]:
    """Return what headers declare and their own C files don't define, as "NAME.h: function"."""
    found = []
    for header in sorted(directory.glob("*.h")):
        source = header.with_suffix(".c")
        defined = set(_DEFINITION.findall(_bare(source))) if source.is_file() else set()
        found += [f"{header.name}: {name}" for name in _DECLARATION.findall(_bare(header)) if name not in defined]
    return found


def _bare(path: Path) -> str:
    return _COMMENT.sub("", path.read_text(encoding="utf-8"))


def main() -> int:
    """Print what is wrong."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCES
    modules = uses(directory)
    if not modules:
        print(f"{directory} has no C sources", file=sys.stderr)
        return 2
    wrong = [f"{name}, which its own C file does not define" for name in strangers(directory)]
    if found := circle(modules):
        wrong.append("a circle: " + " -> ".join(found))
    print("\n".join(wrong) or f"{len(modules)} modules, no circle")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
