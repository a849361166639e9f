"""The installed pytest plugin: adds the suite's options, and does nothing else until a run asks for the suite.

The plugin is loaded into every pytest run of everyone who has samebox installed, so it imports nothing beyond pytest,
has no fixtures, and hands over to `samebox.conformance.session` only where `--engine` is given.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from typing import Any

SUITE = Path(__file__).parent
PACKAGE = "samebox.conformance"

for _module in ("conftest", "harness", "hostview"):
    pytest.register_assert_rewrite(f"{PACKAGE}.contract.{_module}")

_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("engine", {"metavar": "NAME", "help": "the engine that has to keep the contract, such as podman"}),
    (
        "engine-option",
        {
            "metavar": "KEY=VALUE",
            "action": "append",
            "default": [],
            "help": "one of the engine's own options, as url=unix:///run/podman/podman.sock; may be repeated",
        },
    ),
    ("image", {"metavar": "REF", "help": "the image of the sandboxes (default: the engine's own, else busybox)"}),
    (
        "engine-profile",
        {"metavar": "NAME", "help": "ask for a named set of capabilities: core, isolated, limits, persistent or full"},
    ),
    (
        "known",
        {
            "metavar": "ID=URL|FILE",
            "action": "append",
            "default": [],
            "help": "a known failure with its issue, or a file of them, a line `ID URL` each; may be repeated",
        },
    ),
    ("report", {"metavar": "DIR", "help": "write result.json, junit.xml and report.html there"}),
    (
        "allow-unavailable",
        {"action": "store_true", "help": "an engine that can't be reached is not a failure"},
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options, in one group."""
    group = parser.getgroup("samebox", "samebox conformance suite")
    for name, settings in _OPTIONS:
        dest, long = f"samebox_{name.replace('-', '_')}", f"--samebox-{name}"
        try:
            group.addoption(f"--{name}", long, dest=dest, **settings)
        except (ValueError, argparse.ArgumentError):  # another plugin has the short option already
            group.addoption(long, dest=dest, **settings)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the session if the suite is asked for."""
    config.addinivalue_line(
        "markers", "samebox_requires(*capabilities): what a test of samebox.conformance asks of an engine"
    )
    config.addinivalue_line(
        "markers", "samebox_verifies(*fields): which settings a test of samebox.conformance shows to work"
    )
    if config.getoption("samebox_engine") is not None:
        from samebox.conformance.session import ConformanceSession  # noqa: PLC0415 - imports the core, and so pydantic

        config.pluginmanager.register(ConformanceSession(config), "samebox-conformance")
        directory = config.getoption("samebox_report")
        if directory is not None and not hasattr(config, "workerinput"):
            from samebox.conformance.reporter import Reporter  # noqa: PLC0415

            config.pluginmanager.register(Reporter(config, Path(directory).absolute()), "samebox-reporter")
    elif any(_names_suite(argument, config) for argument in config.args):
        raise pytest.UsageError(_NO_ENGINE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to run the suite without an engine, where the suite was collected from a directory above."""
    if config.getoption("samebox_engine") is None and any(SUITE in item.path.parents for item in items):
        raise pytest.UsageError(_NO_ENGINE)


_NO_ENGINE = (
    f"{PACKAGE} tests an engine: name it, as in `pytest --pyargs {PACKAGE} --engine podman`; "
    "`samebox engines` lists those that are installed"
)


def _names_suite(argument: str, config: pytest.Config) -> bool:
    """Whether a command-line argument is the suite or a part of the suite."""
    name = argument.partition("::")[0]
    if config.getoption("pyargs") and (name == PACKAGE or name.startswith(PACKAGE + ".")):
        return True
    path = Path(name).absolute()
    return path == SUITE or SUITE in path.parents
