"""What the suite found of each mutant: run in a few processes of their own, as a mutant breaks the core it runs in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SUPPORT = Path(__file__).parent.parent / "support"
PROCESSES = 3
"""More than processors: most of the time is spent waiting for what hangs."""
LIMIT = 240
"""In seconds."""

Found = dict[str, Any]


@pytest.fixture(scope="session")
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What was found of each mutant that a test of this run asks for, by its name."""
    names = list(dict.fromkeys(_asked(request.session.items)))
    shares = [share for k in range(PROCESSES) if (share := names[k::PROCESSES])]
    places = [tmp_path_factory.mktemp("mutants") for _ in shares]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])
    processes = []
    for share, place in zip(shares, places, strict=True):
        command = [sys.executable, "-m", "mutants.run", str(place), str(place / "found"), *share]
        with (place / "output").open("wb") as output:
            processes.append(
                subprocess.Popen(
                    command, env=environment, cwd=place, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            )
    deadline = time.monotonic() + LIMIT
    try:
        for process in processes:
            process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass  # what was not run is missed by its own test
    finally:
        for process in processes:
            process.kill()
            process.wait()
    results: dict[str, Found] = {}
    for share, place in zip(shares, places, strict=True):
        lines = (place / "found").read_text("utf-8").splitlines() if (place / "found").exists() else []
        results |= {line["name"]: line for line in map(json.loads, lines)}
        said = (place / "output").read_text("utf-8", "replace")[-2000:]
        results |= {name: {"missing": said} for name in share if name not in results}
    return results


def _asked(items: list[pytest.Item]) -> Iterator[str]:
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and item.path.parent == Path(__file__).parent and "name" in callspec.params:
            yield callspec.params["name"]
