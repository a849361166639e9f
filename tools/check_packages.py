#!/usr/bin/env python3
"""Build every distribution, check its content, and install the wheels as a user would.

    python3 tools/check_packages.py DIRECTORY     needs `pip install --group package`

Each sdist is built from the work tree and each wheel from its sdist, so the agent in the wheel is compiled in another
directory and by another copy of the compiler than the agent in the work tree. Both agents must have the same bytes.
"""

from __future__ import annotations

import configparser
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AGENT = "samebox/agent/bin/agent-"
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
#: The modules that `import samebox` must not import: the dependencies of the command line, the engines and the suite.
NOT_IMPORTED = {"docker", "podman", "pytest", "rich", "typer"}


def check(good: object, complaint: str) -> None:
    """Stop with a complaint unless the condition `good` holds."""
    if not good:
        sys.exit(f"check_packages.py: {complaint}")


def run(*command: str | Path) -> None:
    """Run a command, which must succeed."""
    print("+", *command, flush=True)
    subprocess.run(command, check=True)


def check_agent(data: bytes, machine: str) -> None:
    """Check that a program is for the machine, position-independent, and needs no loader."""
    kind, found = struct.unpack_from("<HH", data, 16)
    check(data[:4] == b"\x7fELF" and found == ELF_MACHINES[machine], f"the agent for {machine} is for machine {found}")
    check(kind == 3, f"the agent for {machine} is not position-independent (ELF type {kind})")  # 3: ET_DYN
    offset, size, count = (struct.unpack_from(code, data, at)[0] for code, at in (("<Q", 32), ("<H", 54), ("<H", 56)))
    segments = {struct.unpack_from("<I", data, offset + size * index)[0] for index in range(count)}
    check(3 not in segments, f"the agent for {machine} is linked dynamically")  # 3: PT_INTERP


def check_core(sdist: set[str], wheel: zipfile.ZipFile) -> None:
    """Check that the core's wheel has both agents, its sdist the agent's sources, and that neither has too much."""
    check("src/samebox/agent/csrc/main.c" in sdist, "the core's sdist lacks the agent's sources")
    stray = sorted(name for name in sdist if name.startswith("plugins/") or "/bin/" in name)
    check(not stray, f"in the core's sdist: {stray}")
    names = set(wheel.namelist())
    stray = sorted(name for name in names if "/csrc/" in name or name.endswith("build_agent.py"))
    check(not stray, f"in the core's wheel: {stray}")
    for machine in ELF_MACHINES:
        name = AGENT + machine
        check(name in names, f"the core's wheel lacks {name}")
        check(wheel.getinfo(name).external_attr >> 16 & 0o111, f"{name} is not executable")
        data = wheel.read(name)
        check_agent(data, machine)
        here = ROOT / "src" / name
        check(
            not here.exists() or here.read_bytes() == data,
            f"{here} is not what is in the wheel: it is out of date (tox -e agent), or the build depends on the place",
        )


def check_wheel(wheel: zipfile.ZipFile, module: str) -> None:
    """Check that a wheel is one typed package with a licence, and that its entry points lead to modules."""
    names = set(wheel.namelist())
    tops = {name.split("/")[0] for name in names}
    check({top for top in tops if not top.endswith(".dist-info")} == {module}, f"{module}'s wheel holds {sorted(tops)}")
    check(f"{module}/py.typed" in names, f"{module}'s wheel lacks py.typed")
    check(any(name.endswith("/licenses/LICENSE") for name in names), f"{module}'s wheel lacks its licence")
    points = configparser.ConfigParser(delimiters="=")
    points.read_string(wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode())
    for section in points.sections():
        for name, value in points[section].items():
            path = value.partition(":")[0].replace(".", "/")
            found = names & {f"{path}.py", f"{path}/__init__.py"}
            check(found, f"{module}'s entry point {section} {name} = {value}: there is no such module")


def build(source: Path, into: Path) -> Path:
    """Build a distribution's sdist, and the wheel from the sdist."""
    run(sys.executable, "-m", "build", "--outdir", into, source)
    name = "samebox" if source == ROOT else f"samebox_{source.name}"
    [sdist] = into.glob(f"{name}-[0-9]*.tar.gz")
    [wheel] = into.glob(f"{name}-[0-9]*.whl")
    with tarfile.open(sdist) as archive:
        members = {member.partition("/")[2] for member in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        check_wheel(archive, name)
        if source == ROOT:
            check_core(members, archive)
    return wheel


def check_installed(wheels: list[Path]) -> None:
    """Install wheels in an empty virtual environment, and try their import and their commands."""
    with tempfile.TemporaryDirectory(prefix="samebox-package-") as scratch:
        venv.create(scratch, with_pip=True)
        programs = Path(scratch, "bin")
        run(programs / "pip", "install", "--quiet", *wheels)
        program = "import samebox, sys; print(*sys.modules, sep='\\n')"
        loaded = subprocess.check_output([programs / "python", "-c", program], text=True).split()
        heavy = NOT_IMPORTED.intersection(loaded)
        check(not heavy, f"`import samebox` imports {sorted(heavy)}")
        run(programs / "samebox", "--version")
        run(programs / "samebox", "engines")


def main(into: Path) -> None:
    """Build and check every distribution."""
    shutil.rmtree(into, ignore_errors=True)
    plugins = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
    wheels = [build(source, into) for source in [ROOT, *plugins]]
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(into.iterdir()))
    check_installed(wheels)
    print(f"{len(wheels)} distributions are good: {', '.join(wheel.name for wheel in wheels)}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
