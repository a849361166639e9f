"""Measure samebox against the raw client libraries, in one run.

`python tools/engines.py run -- python benchmarks/bench.py --write docs/performance.md` fills in that page.

Engines are reached through SAMEBOX_TEST_DOCKER_URL, SAMEBOX_TEST_PODMAN_URL and SAMEBOX_TEST_PODMAN_ROOTLESS_URL
(tools/engines.py sets them), or else as samebox finds them. Samples of both sides are taken in turn, so that a drift
of the machine hits both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from measure import concurrent, flood, in_turn, once
from raw import RawDocker, RawPodman, raw_engine
from report import host, table

from samebox import Sandbox, SandboxConfig, SandboxError
from samebox.engine.registry import make_engine

TARGETS = ("bubblewrap", "docker", "podman", "podman-rootless")


def main() -> int:
    """Measure every engine that can be reached, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", default=TARGETS, help=f"which of {', '.join(TARGETS)}")
    parser.add_argument(
        "--samples", type=int, default=1000, help="samples of a command or file (the raw side: a 25th of it)"
    )
    parser.add_argument("--write", type=Path, help="replace the generated part of this page")
    parser.add_argument("--json", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    found = {}
    for target in arguments.engines:
        settings, raw = raw_engine(target)
        try:
            info = make_engine(settings["engine"], settings["options"]).probe()
        except SandboxError as error:
            print(f"{target}: not measured: {error}", file=sys.stderr)
            continue
        print(f"{target}: measuring", file=sys.stderr)
        found[target] = {"version": info.version, **measure(settings, raw, arguments.samples)}
    text = table(found, host())
    if arguments.json:
        arguments.json.write_text(json.dumps({"host": host(), "engines": found}, indent=2) + "\n")
    if arguments.write:
        page = arguments.write.read_text()
        head, marker, _ = page.partition("<!-- generated -->\n")
        if not marker:
            print(f"{arguments.write} has no line <!-- generated -->", file=sys.stderr)
            return 1
        arguments.write.write_text(head + marker + text)
    print(text)
    return 0


def measure(settings: dict[str, object], raw: RawDocker | RawPodman | None, samples: int) -> dict[str, object]:
    """Return the figures of one engine: seconds unless named otherwise, with the raw client's beside them."""
    payload = b"x" * 1024

    def first_result() -> float:
        began = time.perf_counter()
        with Sandbox(SandboxConfig(**settings)) as box:
            box.exec(["true"]).check()
            return time.perf_counter() - began

    first_result()  # the agent's volume, and caches
    found: dict[str, object] = {}
    raw_samples, few = max(5, samples // 25), max(5, samples // 100)
    with Sandbox(SandboxConfig(**settings)) as box:
        box.exec(["true"])

        def files() -> None:
            box.write_bytes("bench", payload)
            assert box.read_bytes("bench") == payload

        if raw is None:
            found["exec"] = once(lambda: _nothing(box.exec(["true"])), samples)
            found["files"] = once(files, samples)
            found["create"] = once(first_result, few * 3)
        else:
            with raw.container() as container:
                found["exec"], found["raw_exec"] = in_turn(
                    lambda: _nothing(box.exec(["true"])), container.exec_true, samples, raw_samples
                )
                found["files"], found["raw_files"] = in_turn(
                    files, lambda: container.files(payload), samples, raw_samples
                )
            found["create"], found["raw_create"] = in_turn(first_result, raw.create_and_start, few, few)
        found["concurrent"] = statistics.median(concurrent(box, 8, 0.1) for _ in range(5))
        found["flood_seconds"], found["flood_growth"] = flood(box, 2 << 30, 1 << 20)
    return found


def _nothing(_result: object) -> None:
    """Leave the time to be taken from outside."""


if __name__ == "__main__":
    sys.exit(main())
