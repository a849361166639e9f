"""`samebox new-engine`: writes the package of a new engine plugin, to be filled in."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from samebox.cli.console import failures, out
from samebox.engine.registry import registry
from samebox.errors import ConfigError
from samebox.version import __version__

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_RESERVED = frozenset({"auto", "conformance", "none"})


def new_engine(
    name: Annotated[str, typer.Argument(help="The engine's name: lower-case letters, digits and dashes.")],
    directory: Annotated[Path | None, typer.Option(help="Where to write it; default: samebox-NAME.")] = None,
) -> None:
    """Write the package of an engine plugin that installs, registers and fails the suite until it is filled in."""
    with failures():
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ConfigError(f"{name!r} is no name for an engine: lower-case letters, digits and dashes, as in my-vm")
        if name in registry().engines:
            source = registry().sources[name]
            raise ConfigError(f"{source.distribution} has an engine of the name {name!r} already")
        target = directory or Path(f"samebox-{name}")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target} is there already and not empty; --directory names another place")
        for path, text in engine_package(name).items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            out.print(str(file), markup=False)
    out.print(
        f"\nnext:\n  pip install -e {target} 'samebox[conformance]'\n  samebox conformance {name} --report report/",
        markup=False,
    )


def engine_package(name: str) -> dict[str, str]:
    """Return the files of a new engine's package: each text by its path.

    Args:
        name: The engine's name; "my-vm" gives the module samebox_my_vm and the class MyVmEngine.
    """
    values = {
        "name": name,
        "module": f"samebox_{name.replace('-', '_')}",
        "title": "".join(word.capitalize() for word in name.split("-")),
        "samebox": ".".join(__version__.split(".")[:2]),
    }
    places = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "init.py": f"src/{values['module']}/__init__.py",
        "plugin.py": f"src/{values['module']}/plugin.py",
        "engine.py": f"src/{values['module']}/engine.py",
        "test_contract.py": "tests/test_contract.py",
    }
    templates = files("samebox.cli") / "templates"
    return {
        path: re.sub(
            r"\{\{(\w+)\}\}",
            lambda match: values[match[1]],
            (templates / f"{template}.txt").read_text(encoding="utf-8"),
        )
        for template, path in places.items()
    }
