"""What the distributions say about themselves, and how the agent is built."""

from __future__ import annotations

import re
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from samebox.agent import build_agent

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = sorted(ROOT.glob("plugins/*/pyproject.toml"))


def read(path: Path) -> dict[str, Any]:
    """Return a TOML file's content."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def names(requirements: list[Any]) -> set[str]:
    """Return the distributions' names in a list of requirements, without the groups that it includes."""
    found = (re.match(r"[a-z0-9.-]+", line) for line in requirements if isinstance(line, str))
    return {match[0] for match in found if match}


def test_agent_is_current() -> None:
    """The binaries in the work tree are made from its sources: every other test would test old code."""
    assert build_agent.is_current(), "run `tox -e agent`"


def test_agent_stamp_covers_the_binaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A binary that is missing or was changed is built again."""
    monkeypatch.setattr(build_agent, "_compile", lambda _, output, __: output.write_bytes(b"agent"))
    monkeypatch.setattr(build_agent, "_zig_environment", lambda: nullcontext({}))
    monkeypatch.setattr("importlib.metadata.version", lambda _: build_agent.ZIG.partition("==")[2])

    assert not build_agent.is_current(tmp_path)

    build_agent.build(tmp_path)

    assert build_agent.is_current(tmp_path)

    (tmp_path / "agent-aarch64").write_bytes(b"another")

    assert not build_agent.is_current(tmp_path)

    (tmp_path / "agent-aarch64").unlink()

    assert not build_agent.is_current(tmp_path)


def test_agent_needs_its_own_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of zig would make other bytes: it is refused, with the remedy."""
    monkeypatch.setattr(build_agent, "ZIG", "ziglang==0.0.1")
    with pytest.raises(SystemExit, match=r"^the agent is built by ziglang==0\.0\.1, found: .*; `.* -m pip install zig"):
        build_agent.build(tmp_path)


def test_compiler_version_is_said_once() -> None:
    """Whoever builds by hand gets the compiler that the build hook asks pip for."""
    assert [build_agent.ZIG] == read(ROOT / "pyproject.toml")["dependency-groups"]["agent"]


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.parent.name)
def test_plugin_metadata(path: Path) -> None:
    """A plugin has the core's version and licence, registers under its own name, and the core has an extra for it."""
    core = read(ROOT / "pyproject.toml")["project"]
    plugin = read(path)["project"]
    name = path.parent.name

    assert f"samebox-{name}" == plugin["name"]
    assert core["version"] == plugin["version"]
    assert core["requires-python"] == plugin["requires-python"]
    assert {name: f"samebox_{name}.plugin"} == plugin["entry-points"]["samebox"]
    assert {f"samebox-{name}"} == names(core["optional-dependencies"][name])
    assert "samebox" in names(plugin["dependencies"])
    assert (ROOT / "LICENSE").read_bytes() == path.with_name("LICENSE").read_bytes()


def test_every_dependency_has_its_reason() -> None:
    """A dependency without a line in the ADR, or a line without the dependency, is a mistake."""
    core = read(ROOT / "pyproject.toml")
    lists = [core["build-system"]["requires"], *core["dependency-groups"].values()]
    for project in (core["project"], *(read(path)["project"] for path in PLUGINS)):
        lists += [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    used = set[str]().union(*map(names, lists)) - {"samebox"}
    page = (ROOT / "docs/adr/0001-dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| ([a-z0-9., -]+) \|", page)
    explained = {name for row in rows for name in row.split(", ")} - {"distribution"}

    assert used == explained
