"""FaultBed: engines of their own for the tests that break engines."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footprint import descendants
from testbed.layout import Layout
from testbed.state import State

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

    from testbed.process import ProcessRecord

_ENGINES = Path(__file__).parents[2] / "tools" / "engines.py"
_DIRECTORY = "/var/lib/samebox-faultbed"


class FaultBed:
    """A second set of engines beside the ordinary one, in SAMEBOX_FAULTS_DIR or below /var/lib."""

    def __init__(self) -> None:
        directory = os.environ.get("SAMEBOX_FAULTS_DIR", _DIRECTORY)
        own = {name: value for name, value in os.environ.items() if not name.startswith("SAMEBOX_TEST")}
        self._environment = {**own, "SAMEBOX_TESTBED_DIR": directory}
        os.environ["SAMEBOX_TESTBED_DIR"] = directory
        try:
            self.layout = Layout.from_environment()
        finally:
            del os.environ["SAMEBOX_TESTBED_DIR"]

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, str(_ENGINES), *words],
            env=self._environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self) -> None:
        """Start the engines, or those of them that have ended."""
        self._run("up")

    def down(self) -> None:
        """Remove them."""
        self._run("down")

    def daemon(self, name: str) -> ProcessRecord | None:
        """Return the process of a service, if it runs."""
        return State(self.layout.state_file).daemon(name)

    @functools.cached_property
    def environment(self) -> Mapping[str, str]:
        """The variables with the services' addresses and the images' names."""
        lines = self._run("env").splitlines()
        pairs = (line.removeprefix("export ").partition("=")[::2] for line in lines)
        return {name: value.strip("'\"") for name, value in pairs}

    @property
    def places(self) -> tuple[str, str]:
        """The directories in which the services have everything."""
        return str(self.layout.state), str(self.layout.run)


@dataclass(frozen=True)
class Service:
    """One engine in a fault bed: its service there, or bubblewrap, which has none."""

    name: str
    engine: str
    variable: str
    """The one with the service's address; "" for none."""
    bed: FaultBed

    @property
    def is_embedded(self) -> bool:
        """Whether it runs in this process, without a service."""
        return not self.variable

    @property
    def url(self) -> str:
        """The service's address."""
        return self.bed.environment[self.variable]

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the settings of a sandbox on this engine.

        Args:
            more: Further settings, or others in their place.
        """
        known = self.bed.environment
        if self.is_embedded:
            return {"engine": self.engine, "image": f"dir:{known['SAMEBOX_TEST_IMAGE_DIR']}/busybox", **more}
        image = known["SAMEBOX_TEST_IMAGE_BUSYBOX"]
        return {"engine": self.engine, "options": {"url": self.url}, "image": image, **more}

    def program(self, *words: str) -> str:
        """Run the service's own command line, and return what it prints.

        Raises:
            subprocess.CalledProcessError: It fails; `stderr` has its words.
        """
        client = (
            ["docker", "--host", self.url] if self.engine == "docker" else ["podman", "--remote", "--url", self.url]
        )
        done = subprocess.run([*client, *words], capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the service's process, and to those that are the service as well."""
        record = self.bed.daemon(self.name)
        assert record is not None, f"{self.name} does not run"
        # A rootless Podman runs itself once more in its user namespace, and that process is who answers.
        others = [pid for pid in descendants(record.pid) if _comm(pid) == _comm(record.pid)]
        record.send(number)
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text("ascii")


class Table:
    """What was seen of each fault: a line for each fault and phase, a column for each engine."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def add(self, fault: str, promised: str, engine: str, seen: str) -> None:
        """Add what one test has seen."""
        self.rows.append({"fault": fault, "promised": promised, "engine": engine, "seen": seen})

    def write(self, path: Path) -> None:
        """Write the table as JSON, in a fixed order; rows of earlier runs stay where this run has none."""
        known = json.loads(path.read_text("utf-8")) if path.exists() else []
        merged = {(row["fault"], row["engine"]): row for row in known + self.rows}
        rows = [merged[key] for key in sorted(merged)]
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
