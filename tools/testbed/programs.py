"""Programs: the root that has an engine's programs, and the start of the engine's daemons from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.process import start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from testbed.process import ProcessRecord

ENTER = r"""
set -eu
root=$1 uid=$2 gid=$3
shift 3
mount --bind "$root" "$root"
cd "$root"
mount -t tmpfs -o mode=755 tmpfs run
# What is mounted below comes along: /dev/shm, /dev/pts, cgroups. Paths in /tmp mean the same to clients and engine.
for name in proc sys dev tmp; do
    mkdir -p "$name"
    mount --rbind "/$name" "$name"
done
for name in passwd group subuid subgid hosts resolv.conf; do
    touch "etc/$name"
    mount --bind "/etc/$name" "etc/$name"
done
mkdir -p etc/ssl
mount --bind /etc/ssl etc/ssl
while [ "$1" != -- ]; do
    mkdir -p ".$1"
    mount --rbind "$1" ".$1"
    shift
done
shift
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
cd /
if [ "$uid" != 0 ]; then
    exec setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@"
fi
exec "$@"
"""
"""The shell script that makes a directory the root of this process, in its own mount namespace.

The script uses pivot_root: from a mere chroot, a program that an OCI runtime executes in a container lands on the
host's root.
"""


class Programs:
    """An engine's programs: the machine's own, or programs in a root of their own.

    Args:
        root: A directory with the programs and all that they need, such as a newer libc; None for the machine's own
            programs.
        shared: The paths of the machine that the programs have to see in the root.
    """

    def __init__(self, root: Path | None = None, *, shared: Sequence[Path] = ()) -> None:
        self._root = root
        self._shared = shared

    @property
    def alone(self) -> bool:
        """Whether each daemon is in a mount namespace of its own, with a /run that no other engine uses."""
        return self._root is not None

    def start(
        self, argv: Sequence[str], *, log: Path, env: Mapping[str, str], user: tuple[int, int] | None = None
    ) -> ProcessRecord:
        """Start a daemon.

        Args:
            argv: The command, passed literally.
            log: The file that the daemon's output is appended to.
            env: The daemon's whole environment.
            user: The uid and gid that the daemon runs as; None: root.

        Returns:
            The daemon's record.

        Raises:
            TestbedError: The daemon cannot be started, or ended at once.
        """
        if self._root is None:
            return start(argv, log=log, env=env, user=user)
        uid, gid = user or (0, 0)
        script = ["sh", "-c", ENTER, "sh", str(self._root), str(uid), str(gid), *map(str, self._shared), "--"]
        return start(["unshare", "--mount", "--propagation=private", *script, *argv], log=log, env=env)
