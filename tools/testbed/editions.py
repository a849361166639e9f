"""Edition: a version of an engine that teams run, from a release of Debian that has this version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.failure import TestbedError
from testbed.leftovers import remove_tree
from testbed.programs import Programs
from testbed.state import write_atomically
from testbed.suite import Suite, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from testbed.layout import EditionLayout

COMMON = ("base-files", "coreutils", "dash", "iproute2", "iptables", "mount", "nftables", "runc", "util-linux")
ROOTLESS = ("fuse-overlayfs", "passt", "slirp4netns", "uidmap")
PACKAGES = {
    "docker": ("docker.io", "containerd", *COMMON),
    "docker-rootless": ("docker.io", "containerd", "rootlesskit", "sed", "grep", "mawk", *COMMON, *ROOTLESS),
    "podman": ("podman", "aardvark-dns", "catatonit", "crun", "netavark", *COMMON, *ROOTLESS),
}
"""The packages that an engine needs in its root, the engine's own package first."""


@dataclass(frozen=True)
class Edition:
    """A version of an engine."""

    kind: str
    """`docker`, `docker-rootless`, or `podman`, which stands for a rootful and a rootless engine."""
    version: str
    """The beginning of the engine's full version."""
    suite: str
    """The release of Debian that has the version."""

    @property
    def name(self) -> str:
        """The edition's name, as on the command line."""
        return f"{self.kind}={self.version}"

    def programs(self, layout: EditionLayout) -> Programs:
        """Return the engine's programs, which `ensure` has to unpack first."""
        return Programs(layout.programs, shared=(layout.state, layout.run))

    def ensure(self, layout: EditionLayout, say: Callable[[str], None]) -> None:
        """Download and unpack the engine's programs, unless they are there.

        Args:
            layout: The edition's paths and names.
            say: Called with a line for each step.

        Raises:
            TestbedError: The packages can't be downloaded, or the release has another version by now.
        """
        root, stamp = layout.programs, layout.packages
        if not stamp.exists():
            suite = Suite(self.suite, layout.downloads / self.suite)
            wanted = PACKAGES[self.kind]
            packages = suite.download(suite.closure(wanted))
            found = next(package.version for package in packages if package.name == wanted[0])
            if not found.startswith(f"{self.version}."):
                remedy = (
                    f"Name the version that it has, in {__name__}, or take the package from an archive of snapshots."
                )
                text = f"Debian's {self.suite} has {found} by now"
                raise TestbedError(tried=f"get {self.name}", found=text, remedy=remedy)
            remove_tree(root)
            root.mkdir(parents=True)
            unpack(packages, root)
            content = {package.name: {"version": package.version, "sha256": package.sha256} for package in packages}
            write_atomically(stamp, json.dumps(content, indent=1, sort_keys=True) + "\n")
            say(f"{self.name}: unpacked {len(packages)} packages of {self.suite}, {wanted[0]} {found}")


EDITIONS = tuple(
    Edition(kind, version, suite)
    for kind, versions in (
        ("docker", (("20.10", "bookworm"), ("26", "trixie"), ("28", "forky"))),
        ("docker-rootless", (("28", "forky"),)),
        ("podman", (("4.3", "bookworm"), ("5.4", "trixie"), ("5.8", "forky"))),
    )
    for version, suite in versions
)
"""All editions; a word without a version means the first edition of that kind."""


def parse_editions(words: Sequence[str]) -> list[Edition]:
    """Return the editions that words of the command line name, `docker=28` or `docker-rootless`.

    Raises:
        TestbedError: There is no such version.
    """
    found = []
    for word in words:
        matching = [edition for edition in EDITIONS if word in {edition.name, edition.kind}]
        if not matching:
            known = ", ".join(edition.name for edition in EDITIONS)
            raise TestbedError(tried=f"find the version {word}", found="there is none", remedy=f"There are: {known}.")
        found.append(matching[0])
    return list(dict.fromkeys(found))
