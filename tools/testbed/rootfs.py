"""Root file systems of the test images, made from this machine's packages and compiler."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PACKAGES", "make_busybox", "make_debian", "make_scratch"]

#: What the Debian image holds beside a minimal system: what a Python project's own test suite needs, offline.
PACKAGES = ("bash", "coreutils", "procps", "python3", "python3-pip", "python3-pytest", "python3-setuptools", "python3-wheel")

#: The program of the image without a shell. It echoes its arguments, or its stdin, so that tests can see both arrive.
HELLO = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* hello                 print a greeting
 * hello WORD...         print the words, one a line
 * hello --exit N        exit with N
 * hello --cat           copy stdin to stdout
 */
int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--exit") == 0)
        return atoi(argv[2]);
    if (argc == 2 && strcmp(argv[1], "--cat") == 0) {
        for (int byte = getchar(); byte != EOF; byte = getchar())
            putchar(byte);
        return 0;
    }
    if (argc == 1)
        puts("hello from scratch");
    for (int i = 1; i < argc; i++)
        puts(argv[i]);
    return 0;
}
"""


def make_busybox(root: Path) -> None:
    """Make a root with busybox, a link for each of its programs, and two users.

    :param root: an empty directory

    :raises TestbedError: when busybox does not run
    """
    for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr/bin", "var/tmp"):
        (root / name).mkdir(parents=True)
    busybox = root / "bin" / "busybox"
    shutil.copyfile("/bin/busybox", busybox)
    busybox.chmod(0o755)
    for program in run([busybox, "--list"]).split():
        if program != "busybox":
            (root / "bin" / program).symlink_to("/bin/busybox")
    # Scripts begin with #!/usr/bin/env.
    (root / "usr" / "bin" / "env").symlink_to("/bin/busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", encoding="ascii")
    (root / "etc" / "group").write_text("root:x:0:\nnobody:x:65534:\n", encoding="ascii")
    for name in ("tmp", "var/tmp"):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(0o1777)
    (root / "root").chmod(0o700)


def make_scratch(root: Path) -> None:
    """Make a root that holds one static program, and nothing else.

    :param root: an empty directory

    :raises TestbedError: when it does not compile
    """
    source = root.with_name(root.name + ".c")
    source.write_text(HELLO, encoding="ascii")
    run(["gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-o", root / "hello", source])
    source.unlink()
    if os.listdir(root) != ["hello"]:
        raise TestbedError(f"make {root}", "it holds more than /hello", "Remove it, then run `up` again.")


def make_debian(archive: Path) -> None:
    """Make a Debian of this machine's own release with Python and pytest, as a tar file.

    :param archive: the tar file to write

    :raises TestbedError: when mmdebstrap fails
    """
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines() if "=" in line)
    suite = release.get("VERSION_CODENAME", "").strip('"')
    options: list[str] = []
    for option in _acquire_options():
        options += ["--aptopt", option]
    # Nobody reads manuals in there, and half the size is half the time to load it.
    for unwanted in ("doc", "man", "info", "locale", "lintian"):
        options += ["--dpkgopt", f"path-exclude=/usr/share/{unwanted}/*"]
    hooks = [
        'ln -s python3 "$1/usr/bin/python"',
        # As in the image `python:3`, pip may install into the system.
        'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
        # How this machine reaches its package sources is no part of an image.
        'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"',
    ]
    for hook in hooks:
        options += ["--customize-hook", hook]
    argv = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        # A rootless engine may not make device nodes, and every engine brings its own /dev.
        "--skip=output/dev",
        "--quiet",
        *options,
        suite,
        str(archive),
        *(str(path) for path in _sources(suite)),
    ]
    run(argv, remedy="See that /etc/apt names package sources of this release that this machine reaches.", timeout=1200)


def _sources(suite: str) -> Iterable[Path]:
    """:returns: this machine's apt sources that serve a suite

    :raises TestbedError: when there is none
    """
    apt = Path("/etc/apt")
    candidates = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    candidates += sorted((apt / "sources.list.d").glob("*.sources"))
    word = re.compile(rf"^[^#\n]*\s{re.escape(suite)}(\s|$)", re.MULTILINE)
    found = [path for path in candidates if path.is_file() and word.search(path.read_text(encoding="utf-8", errors="replace"))]
    if not suite or not found:
        raise TestbedError(f"find apt sources of {suite or 'an unnamed release'}", "none in /etc/apt", "Add one.")
    return found


def _acquire_options() -> Iterable[str]:
    """:returns: how this machine's apt reaches its sources: proxies, certificates, checks"""
    for line in run(["apt-config", "dump", "Acquire"]).splitlines():
        name, _, value = line.partition(" ")
        if value not in {'"";', ""} and "::IndexTargets" not in name and "::CompressionTypes" not in name and "::Changelogs" not in name:
            yield f"{name} {value.rstrip(';')}"
