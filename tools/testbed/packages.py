"""What has to be installed, from this machine's own package sources."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ensure_packages", "missing_packages"]

#: Package and the program by which it is known to be there, whoever packaged that: on a machine with Docker's own
#: packages, installing Debian's docker.io would remove them.
PROGRAMS = {
    "docker.io": "dockerd",
    "containerd": "containerd",
    "podman": "podman",
    "crun": "crun",
    "runc": "runc",
    "uidmap": "newuidmap",
    "slirp4netns": "slirp4netns",
    "passt": "pasta",
    "fuse-overlayfs": "fuse-overlayfs",
    "netavark": "netavark",
    "aardvark-dns": "aardvark-dns",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "nftables": "nft",
    "iproute2": "ip",
    "bubblewrap": "bwrap",
    "rootlesskit": "rootlesskit",
    "mmdebstrap": "mmdebstrap",
    "gcc": "gcc",
}

#: Where programs are that are not for people to call.
LIBEXEC = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/lib/podman", "/usr/local/libexec/podman", "/usr/sbin", "/sbin")

#: Packages known by a file: the static busybox takes the name of the ordinary one, and static linking needs libc.a.
FILES = {"libc6-dev": "/usr/lib/*/libc.a", "busybox-static": "/usr/share/doc/busybox-static"}

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Made by samebox's tools/engines.py for as long as it installs packages.\nexit 101\n"


def missing_packages() -> list[str]:
    """:returns: names of the packages that this machine lacks"""
    path = os.pathsep.join([os.environ.get("PATH", ""), *LIBEXEC])
    missing = [package for package, program in PROGRAMS.items() if shutil.which(program, path=path) is None]
    return missing + [package for package, file in FILES.items() if not any(Path("/").glob(file.lstrip("/")))]


def ensure_packages() -> list[str]:
    """Install what is missing.

    :returns: the packages that were installed

    :raises TestbedError: when apt fails, or a program is not there afterwards
    """
    missing = missing_packages()
    if not missing:
        return []
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    remedy = "See that /etc/apt names package sources that this machine reaches, then run `up` again."
    # Another apt on a fresh machine, such as its first update, holds the lock for a minute.
    apt = ["apt-get", "--option", "DPkg::Lock::Timeout=120", "--quiet"]
    run([*apt, "update"], env=environment, remedy=remedy)
    with _no_service_starts():
        run([*apt, "install", "--yes", "--no-install-recommends", *missing], env=environment, remedy=remedy, timeout=1200)
    left = missing_packages()
    if left:
        raise TestbedError(f"install {' '.join(missing)}", f"still missing: {' '.join(left)}", remedy)
    return missing


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep apt from starting the daemons it installs: this bed starts its own, and leaves no other behind."""
    ours = not POLICY.exists() or POLICY.read_text(encoding="utf-8", errors="replace") == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT, encoding="utf-8")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
