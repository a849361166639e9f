"""WorkdirOwners: gives a sandbox's working directory to its user, who may change no owner from inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.engine.mistakes import no_workdir
from samebox.engine.oci.mounts import mount_above
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import timestamp
from samebox.errors import UnsupportedError
from samebox_docker.archive_api import change_directory, path_state, read_header

if TYPE_CHECKING:
    from collections.abc import Iterable

    from samebox_docker.clients import ClientPool
    from samebox_docker.users import Owner

_WRITE_ENTER = 0o3


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory as the image has it, before anything was changed."""

    path: str
    uid: int
    mode: int

    def writable_by(self, owner: Owner) -> bool:
        if self.uid == owner.uid:
            return self.mode & 0o700 == 0o700
        return self.mode & _WRITE_ENTER == _WRITE_ENTER


class WorkdirOwners:
    """Gives workdirs to their users, in containers that are created and not started.

    What each image has there is looked at once.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self._known: dict[tuple[str, str], _Directory] = {}

    def give(
        self, container: str, *, image: str, workdir: str, owner: Owner, volumes: Iterable[str], mounted: bool = False
    ) -> None:
        """See that a workdir in a created container's root file system or volume may be written by its user.

        Root needs it too: without capabilities it may write only what is its own. Docker makes a missing workdir, as
        root's.

        Args:
            container: The container.
            image: The id of its image.
            workdir: The path, absolute.
            owner: The user.
            volumes: Where the image has volumes.
            mounted: Whether it is in a named volume, which says nothing about the image.

        Raises:
            ConfigError: The path is no directory.
            UnsupportedError: It is a volume's under a read-only root, and not the user's yet.
        """
        key = image, workdir
        directory = self._look_in_volume(container, workdir) if mounted else self._known.get(key)
        if directory is None:
            directory = self._known[key] = self._look(container, workdir, fresh=not mount_above(workdir, volumes))
        if directory.writable_by(owner):
            return
        mode = directory.mode | 0o700
        try:
            change_directory(self._pool, container, directory.path, uid=owner.uid, gid=owner.gid, mode=mode)
        except RefusedError as error:
            if "not a directory" in error.words:
                raise no_workdir(workdir) from None
            if "read-only" not in error.words:
                raise
            reason = (
                f"under a read-only root Docker can't give the volume at {workdir} to its user; use the volume once "
                "without read_only, or give another workdir"
            )
            raise UnsupportedError(Capability.VOLUMES, "docker", reason) from None

    def _look_in_volume(self, container: str, workdir: str) -> _Directory:
        if path_state(self._pool, container, workdir) is None:
            return _Directory(workdir, -1, 0o755)  # it is made
        return self._look(container, workdir, fresh=False)

    def _look(self, container: str, workdir: str, *, fresh: bool) -> _Directory:
        state = path_state(self._pool, container, workdir)
        path = workdir
        if state is not None and state.target:
            path = state.target
            state = path_state(self._pool, container, path)
        if state is None or state.kind != "directory" or path == "/":
            raise no_workdir(workdir)
        if fresh:
            with self._pool.client() as client:
                created = timestamp(str(client.inspect_container(container)["Created"]))
            if state.modified > created:
                # Newer than the container, which has never run: Docker has just made it. Saves reading it, which takes
                # 45 ms.
                return _Directory(path, 0, state.mode)
        # With "/." it is the directory itself, and its header comes first.
        header = read_header(self._pool, container, f"{path}/.")
        return _Directory(path, header.uid, header.mode & 0o7777)
