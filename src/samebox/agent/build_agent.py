"""Build the agent: csrc/*.c into bin/agent-x86_64 and bin/agent-aarch64, by hand and as hatchling's build hook.

    python src/samebox/agent/build_agent.py                   # both binaries; needs `pip install --group agent`
    python src/samebox/agent/build_agent.py --sanitize PATH   # one for tests: the host's compiler, ASan and UBSan

This file imports nothing of samebox: hatchling loads the file by its path before samebox is there. The file is in the
sdist, not in the wheel, which has no use for it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ZIG = "ziglang==0.15.2"
"""The compiler: clang, lld and musl for both targets in one wheel, so that a build needs pip and nothing else.

Of the versions 0.13 to 0.17 this version is the quickest at compiling musl for both targets, 35-45 s on 2 cores (0.16
and 0.17: 65 s), and its binaries are as small as those of the other versions.
"""
MACHINES = ("x86_64", "aarch64")

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "csrc"
BIN = HERE / "bin"

# fmt: off
WARNINGS = [
    "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow", "-Wconversion", "-Wsign-conversion", "-Wcast-qual",
    "-Wcast-align", "-Wpointer-arith", "-Wwrite-strings", "-Wformat=2", "-Wundef", "-Wvla", "-Wnull-dereference",
    "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wmissing-declarations", "-Wold-style-definition",
    "-Wredundant-decls", "-Wimplicit-fallthrough", "-Wdouble-promotion",
]
COMMON = ["-std=c11", "-D_GNU_SOURCE", *WARNINGS]
RELEASE = [
    *COMMON, "-Os", "-mcpu=baseline", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections",
    "-fno-unwind-tables", "-fno-asynchronous-unwind-tables",
    # A static-pie, for which zig's driver has no option of that name.
    "-static", "-fPIE", "-pie",
    "-fstack-protector-strong", "-ftrivial-auto-var-init=zero", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack",
    # No names, paths or times in the file: the binary has the same bytes from any directory at any time.
    "-s", "-Wl,--build-id=none",
]
SANITIZED = [
    *COMMON, "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
]
# fmt: on


def build(into: Path = BIN) -> None:
    """Compile the agent for every machine, and note the digest of its sources in `into`.

    Args:
        into: The directory for the binaries.

    Raises:
        SystemExit: The compiler is not installed, is another version, or refuses the sources.
    """
    name, _, wanted = ZIG.partition("==")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != wanted:
        sys.exit(f"the agent is built by {ZIG}, found: {found}; `{sys.executable} -m pip install {ZIG}`")
    into.mkdir(parents=True, exist_ok=True)
    with _zig_environment() as environment:
        for machine in MACHINES:
            compiler = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-musl"]
            _compile([*compiler, *RELEASE], into / f"agent-{machine}", environment)
    (into / "stamp").write_text(_digest(into), encoding="ascii")


def build_sanitized(output: Path) -> None:
    """Compile an agent for this host that aborts on memory errors and undefined behaviour.

    Args:
        output: The file to make. The agent is linked dynamically, so it runs on this host alone.

    Raises:
        SystemExit: The host has no C compiler, or the compiler refuses the sources.
    """
    _compile([*shlex.split(os.environ.get("CC", "cc")), *SANITIZED], output.absolute(), dict(os.environ))


def is_current(built: Path = BIN) -> bool:
    """Tell whether the binaries were built from these sources by this compiler with these flags.

    Args:
        built: The directory of the binaries.

    Returns:
        True if they were; False also if a binary is missing or was changed.
    """
    try:
        return (built / "stamp").read_text(encoding="ascii") == _digest(built)
    except FileNotFoundError:
        return False


def _digest(built: Path) -> str:
    """Return a digest of the compiler's version, the flags, the sources and the binaries."""
    parts = hashlib.sha256(repr((ZIG, MACHINES, RELEASE)).encode())
    for path in [*sorted(SOURCES.glob("*.[ch]")), *(built / f"agent-{machine}" for machine in MACHINES)]:
        data = path.read_bytes()
        parts.update(f"{path.name} {len(data)}\n".encode())
        parts.update(data)
    return parts.hexdigest()


@contextlib.contextmanager
def _zig_environment() -> Iterator[dict[str, str]]:
    """Let zig find the musl that it compiled in an earlier build, as compiling musl is nearly all of a build's time.

    Zig looks the compiled musl up by its own path, and pip puts zig elsewhere for each build. So zig is shown one path,
    a link, and a lock keeps builds that run side by side from changing the link under each other.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "samebox", ZIG.replace("==", "-"))
    cache = Path(os.environ.get("ZIG_GLOBAL_CACHE_DIR") or cache)
    with contextlib.ExitStack() as stack:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((cache / "lock").open("w"))
        except OSError:  # There is no home, or it can't be written, as on build services.
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            lock = stack.enter_context((cache / "lock").open("w"))
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)}
        if sys.platform != "win32":
            import fcntl  # noqa: PLC0415 - Windows has no fcntl, and compiles musl in every build

            fcntl.flock(lock, fcntl.LOCK_EX)
            link = cache / "lib"
            link.unlink(missing_ok=True)
            link.symlink_to(str(importlib.metadata.distribution("ziglang").locate_file("ziglang/lib")))
            environment["ZIG_LIB_DIR"] = str(link)
        yield environment


def _compile(compiler: list[str], output: Path, environment: dict[str, str]) -> None:
    """Compile all sources into one program, which appears whole or not at all, as another process may look for it."""
    sources = sorted(path.name for path in SOURCES.glob("*.c"))
    if not sources:
        sys.exit(f"no C sources in {SOURCES}")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=output.parent) as scratch:
        program = Path(scratch, output.name)
        # The compiler runs in the sources' directory, so that __FILE__ is a bare name.
        try:
            done = subprocess.run([*compiler, *sources, "-o", program], cwd=SOURCES, env=environment, check=False)
        except FileNotFoundError:
            sys.exit(f"no C compiler {compiler[0]!r}: install gcc or clang, or name one in the variable CC")
        if done.returncode:
            command = shlex.join([*compiler, *sources])
            sys.exit(f"the agent does not compile (exit code {done.returncode}); the command was:\n{command}")
        program.replace(output)


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:
    pass  # Run by hand or by a test, this file needs no build back end.
else:

    class AgentBuildHook(BuildHookInterface[Any]):
        """Builds both binaries for every wheel, editable wheels too; an sdist has the sources instead."""

        def dependencies(self) -> list[str]:
            """Ask pip for the compiler only where the agent has to be compiled: the compiler is 90 MB."""
            return [] if is_current() else [ZIG]

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002, the interface's
            """Build the binaries if they are missing or out of date."""
            if not is_current():
                self.app.display_waiting("building the agent (the first time on a machine: about a minute)")
                build()


def main() -> None:
    """Build as the command line asks."""
    parser = argparse.ArgumentParser(description="Build the agent's binaries into the source tree.")
    parser.add_argument("--sanitize", type=Path, metavar="PATH", help="build PATH for this host, with ASan and UBSan")
    parser.add_argument("--if-needed", action="store_true", help="do nothing if the binaries are current")
    arguments = parser.parse_args()
    if arguments.sanitize:
        build_sanitized(arguments.sanitize)
    elif not (arguments.if_needed and is_current()):
        build()


if __name__ == "__main__":
    main()
