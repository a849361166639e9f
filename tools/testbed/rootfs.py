"""The root file systems of the test images, made from this machine's own packages and compiler."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("bash", "coreutils", "procps", "python3", "python3-pip", "python3-setuptools", "python3-wheel")
"""The packages that the Debian image has beside a minimal system."""

REQUIREMENTS = ("pytest>=8.4,<9",)
"""The Debian image's packages from PyPI: current projects ask for a pytest that Debian doesn't have yet."""

UNWANTED = ("doc", "man", "info", "locale", "lintian")
"""The directories of /usr/share that the Debian image lacks: half the size is half the time to load the image."""

HELLO = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* hello             print a greeting
 * hello WORD...     print the words, one a line
 * hello --exit N    exit with N
 * hello --cat       copy stdin to stdout
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
"""The program in the image without a shell, by which tests see arguments, stdin and exit codes pass."""


def make_busybox(root: Path) -> None:
    """Make a root with busybox, a link for each of its programs, and two users.

    Args:
        root: An empty directory.

    Raises:
        TestbedError: busybox does not run.
    """
    for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr/bin", "var/tmp"):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "root").chmod(0o700)
    busybox = root / "bin" / "busybox"
    shutil.copyfile("/bin/busybox", busybox)
    busybox.chmod(0o755)
    for program in run([busybox, "--list"]).split():
        if program != "busybox":
            (root / "bin" / program).symlink_to("/bin/busybox")
    # Scripts begin with #!/usr/bin/env.
    (root / "usr" / "bin" / "env").symlink_to("/bin/busybox")
    users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    (root / "etc" / "passwd").write_text(users, encoding="ascii")
    (root / "etc" / "group").write_text("root:x:0:\nnobody:x:65534:\n", encoding="ascii")


def make_scratch(root: Path) -> None:
    """Make a root that holds one static program and nothing else.

    Args:
        root: An empty directory.

    Raises:
        TestbedError: The program does not compile.
    """
    source = root.with_name(f"{root.name}.c")
    source.write_text(HELLO, encoding="ascii")
    run(["gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-o", root / "hello", source])
    source.unlink()


def make_debian(archive: Path) -> None:
    """Make a Debian of this machine's own release, with Python and pytest.

    Args:
        archive: The tar file to write.

    Raises:
        TestbedError: mmdebstrap fails.
    """
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    suite = next((line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME=")), "")
    # This machine's own pip is of the same release as the image, and so installs to where the image's Python looks.
    pip = "/usr/bin/python3 -m pip --quiet --disable-pip-version-check install --root-user-action=ignore --no-cache-dir"
    hooks = [
        f'{pip} --break-system-packages --ignore-installed --root "$1" {" ".join(map(repr, REQUIREMENTS))}',
        'ln -s python3 "$1/usr/bin/python"',
        # pip may install into the system, as in the image `python:3`.
        'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
        # The configuration by which this machine reaches its package sources is no part of an image.
        'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"',
    ]
    argv = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        # A rootless engine may not make device nodes, and every engine brings a /dev.
        "--skip=output/dev",
        *(f"--aptopt={option}" for option in _acquire_options()),
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNWANTED),
        *(f"--customize-hook={hook}" for hook in hooks),
        suite,
        str(archive),
        *_sources(suite),
    ]
    remedy = "See that this machine reaches the sources in /etc/apt and, with pip, the Python package index."
    run(argv, remedy=remedy, timeout=1200)


def _sources(suite: str) -> list[str]:
    """Return the files with this machine's apt sources of a release.

    Raises:
        TestbedError: There are no sources of the release.
    """
    apt = Path("/etc/apt")
    parts = sorted((apt / "sources.list.d").glob("*"))
    candidates = [apt / "sources.list", *(path for path in parts if path.suffix in {".list", ".sources"})]
    word = re.compile(rf"^[^#\n]*\s{re.escape(suite)}(\s|$)", re.MULTILINE)
    found = [str(path) for path in candidates if path.is_file() and word.search(path.read_text(encoding="utf-8"))]
    if not suite or not found:
        tried = f"find the apt sources of {suite or 'a release without a name'}"
        raise TestbedError(tried=tried, found="/etc/apt has none", remedy="Add one, as in sources.list(5).")
    return found


def _acquire_options() -> Iterator[str]:
    """Yield the options by which this machine's apt reaches its sources: proxies, certificates, checks."""
    irrelevant = ("::IndexTargets", "::CompressionTypes", "::Changelogs")
    for line in run(["apt-config", "dump", "Acquire"]).splitlines():
        name, _, value = line.partition(" ")
        if value != '"";' and not any(part in name for part in irrelevant):
            yield f"{name} {value.rstrip(';')}"
