"""ensure_packages: the packages that the bed needs, from this machine's own package sources."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "chromium": "chromium",
    "docker-registry": "docker-registry",
}
"""The packages, each with a program that shows that it is installed, from Debian or from elsewhere.

On a machine with Docker's own packages, installing Debian's docker.io would remove them.
"""

FILES = {
    "libc6-dev": "/usr/lib/*/libc.a",
    "busybox-static": "/usr/share/doc/busybox-static",
    "python3-pip": "/usr/lib/python3/dist-packages/pip",
}
"""The packages that are known by a file, as their program may belong to another package, or there is none."""

LIBEXEC = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman", "/usr/sbin", "/sbin")
"""The directories of programs that people don't call by name."""

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Made by samebox's tools/engines.py, for as long as it installs packages.\nexit 101\n"


def missing_packages() -> list[str]:
    """Return the names of the packages that this machine lacks."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *LIBEXEC])
    missing = [package for package, program in PROGRAMS.items() if shutil.which(program, path=path) is None]
    return missing + [package for package, file in FILES.items() if not any(Path("/").glob(file.lstrip("/")))]


def ensure_packages() -> list[str]:
    """Install the packages that are missing.

    Returns:
        The names of the packages that were installed.

    Raises:
        TestbedError: apt fails, or a package is still missing afterwards.
    """
    missing = missing_packages()
    if not missing:
        return []
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    remedy = "See that /etc/apt names package sources that this machine reaches, then run `up` again."
    # On a fresh machine another apt, as in the machine's first update, may hold the lock for a minute.
    apt = ["apt-get", "--option=DPkg::Lock::Timeout=120", "--quiet"]
    run([*apt, "update"], env=environment, remedy=remedy)
    install = [*apt, "install", "--yes", "--no-install-recommends", *missing]
    with _no_service_starts():
        run(install, env=environment, remedy=remedy, timeout=1200)
    left = missing_packages()
    if left:
        raise TestbedError(tried=" ".join(install), found=f"still missing: {' '.join(left)}", remedy=remedy)
    return missing


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep apt from starting the daemons that it installs, as the bed starts its own and `down` ends only these."""
    ours = not POLICY.exists() or POLICY.read_text(encoding="utf-8", errors="replace") == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT, encoding="utf-8")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
