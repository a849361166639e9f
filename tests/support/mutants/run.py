"""Run the catching tests of some mutants, each as an engine of its own, and write what was found as lines of JSON.

`python -m mutants.run DIRECTORY OUTPUT NAME...`; a name with a leading `=` is the unbroken engine of that class, which
gets the catching tests of all its mutants.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mutants import MUTANTS, STILL_WORKS, ImageSubject, KeptSubject, Subject
from mutants.mutant import PATIENCE, nodes, register
from samebox.conformance import session

if TYPE_CHECKING:
    from collections.abc import Sequence

BASES: dict[str, type[Subject]] = {"=subject": Subject, "=kept-subject": KeptSubject, "=image-subject": ImageSubject}


class Watcher:
    """Makes the suite as patient as a mutant needs, and keeps what it found."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.config: pytest.Config | None = None

    def pytest_configure(self, config: pytest.Config) -> None:
        """Keep the configuration, which leads to the verdicts."""
        self.config = config

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Set the time after which something hangs."""
        for item in items:
            patient = item.name == f"test_{STILL_WORKS.partition('/')[2].replace('-', '_')}"
            vars(getattr(item, "module"))["DEADLINE"] = self._patience if not patient else PATIENCE  # noqa: B009


def run(engine: str, tests: Sequence[str], patience: float, directory: Path) -> dict[str, Any]:
    """Run tests of the suite on an engine and return the verdicts."""
    watcher = Watcher(patience)
    output = io.StringIO()
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(session, "HANG", math.ceil(patience) + 2 if patience < PATIENCE else 60)
        arguments = ["-q", "-c", str(directory / "pytest.ini"), "--rootdir", str(directory), "-p", "no:cacheprovider"]
        arguments += ["--basetemp", str(directory / engine), "--capture=sys", "-p", "samebox.conformance.plugin"]
        code = pytest.main([*arguments, "--engine", engine, *nodes(tests)], plugins=[watcher])
    found = watcher.config.stash[session.RUN] if watcher.config is not None else None
    results = found.results.values() if found is not None else ()
    return {
        "engine": engine,
        "exit": int(code),
        "verdicts": {result.id: result.verdict.value for result in results},
        "reasons": {result.id: result.reason for result in results},
        "seconds": round(time.monotonic() - began, 2),
        "output": output.getvalue()[-4000:],
    }


def run_mutant(name: str, directory: Path) -> dict[str, Any]:
    """Run what has to catch a mutant, and what it has to pass."""
    mutant = MUTANTS[name]
    with pytest.MonkeyPatch.context() as patch:
        try:
            mutant.register(patch)
            return run(mutant.engine, [STILL_WORKS, *mutant.caught_by], mutant.patience, directory)
        finally:
            Subject.clean()


def run_unbroken(name: str, directory: Path) -> dict[str, Any]:
    """Run every catching test on the engine that nothing was done to."""
    base = BASES[name]
    tests = {test for mutant in MUTANTS.values() if mutant.base is base for test in mutant.caught_by}
    engine = f"unbroken-{name.removeprefix('=')}"
    register(engine, base)
    return run(engine, sorted({STILL_WORKS, *tests}), PATIENCE, directory)


def main(directory: Path, output: Path, names: Sequence[str]) -> None:
    """Run them one after the other."""
    (directory / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    with output.open("w", encoding="utf-8") as lines:
        for name in names:
            found = run_unbroken(name, directory) if name in BASES else run_mutant(name, directory)
            lines.write(json.dumps(found | {"name": name}) + "\n")
            lines.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
