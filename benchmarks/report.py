"""The table that docs/performance.md shows: figures, ratios and what was to be reached."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def host() -> dict[str, str]:
    """Return what the figures were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "",
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("samebox", "docker", "podman"))
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {cpu}, Linux {platform.release()}",
        "packages": f"Python {platform.python_version()}, {packages}",
    }


def table(found: dict[str, dict[str, Any]], where: dict[str, str]) -> str:
    """Return the table in Markdown."""
    lines = [f"Measured on {where['date']}: {where['machine']}; {where['packages']}.", ""]
    lines += ["| what | engine | samebox | raw client | ratio | to reach |", "|---|---|---|---|---|---|"]
    for engine, figures in found.items():
        name = f"{engine} {figures['version']}"
        lines += [
            _row("exec `true`, p50", name, figures, "exec", "at least 50 times faster, at most 1.5 ms"),
            _row("write and read a 1 KiB file, p50", name, figures, "files", "at least 100 times faster"),
            _create(name, figures),
            f"| 8 concurrent commands of 100 ms | {name} | {figures['concurrent'] * 1e3:.0f} ms | | | at most 150 ms |",
            _flood(name, figures),
        ]
    return "\n".join(lines) + "\n"


def _row(what: str, name: str, figures: dict[str, Any], key: str, goal: str) -> str:
    ours = f"{figures[key] * 1e3:.2f} ms"
    if (raw := figures.get(f"raw_{key}")) is None:
        return f"| {what} | {name} | {ours} | | | |"
    return f"| {what} | {name} | {ours} | {raw * 1e3:.1f} ms | {raw / figures[key]:.0f} times faster | {goal} |"


def _create(name: str, figures: dict[str, Any]) -> str:
    ours = f"{figures['create'] * 1e3:.1f} ms"
    what = "create to first result, p50"
    if (raw := figures.get("raw_create")) is None:
        return f"| {what} | {name} | {ours} | | | at most 15 ms |"
    ratio = f"{figures['create'] / raw:.2f} times as long"
    return f"| {what} | {name} | {ours} | {raw * 1e3:.0f} ms | {ratio} | at most 1.5 times |"


def _flood(name: str, figures: dict[str, Any]) -> str:
    growth = f"+{figures['flood_growth'] / (1 << 20):.1f} MiB ({figures['flood_seconds']:.1f} s)"
    return f"| 2 GiB to stdout, output_limit 1 MiB: host memory | {name} | {growth} | | | at most 32 MiB |"
