"""Gvisor: gVisor's OCI runtime from Debian's backports, unpacked and not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testbed.leftovers import remove_tree
from testbed.suite import Suite, unpack

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "bookworm-backports"
"""The release of Debian that has the package runsc."""

ARGUMENTS = ("--platform=systrap", "--ignore-cgroups", "--network=none")
"""The arguments with which runsc runs anywhere: without KVM, in cgroups it can't handle, beside the host's networks."""


class Gvisor:
    """gVisor's OCI runtime, the program runsc.

    Args:
        directory: The directory where runsc is downloaded and unpacked, once.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root = directory / "root"

    def ensure(self) -> None:
        """Download and unpack runsc, unless it is there.

        Raises:
            TestbedError: The package can't be downloaded.
        """
        if self._root.exists():
            return
        draft = self._directory / "draft"
        remove_tree(draft)
        packages = Suite(RELEASE, self._directory / "packages").download(["runsc"])
        draft.mkdir(parents=True)
        unpack(packages, draft)
        draft.rename(self._root)

    @property
    def program(self) -> Path:
        """The path of runsc."""
        return self._root / "usr" / "bin" / "runsc"

    @property
    def runtimes(self) -> dict[str, dict[str, Any]]:
        """The runtimes of daemon.json: plain runsc, and runsc with a sandbox's writes in the container's own layer."""
        path = str(self.program)
        return {
            "runsc": {"path": path, "runtimeArgs": [*ARGUMENTS]},
            "runsc-layered": {"path": path, "runtimeArgs": [*ARGUMENTS, "--overlay2=none"]},
        }
