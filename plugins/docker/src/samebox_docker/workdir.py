"""WorkdirOwners: gives a sandbox's working directory to its user, who may change no owner from inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.errors import EngineError
from samebox_docker.archive_api import change_directory, path_state, read_header, timestamp
from samebox_docker.tmpfs import mount_above

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

    def give(self, container: str, *, image: str, workdir: str, owner: Owner, volumes: Iterable[str]) -> None:
        """See that a workdir in a created container's root file system or volume may be written by its user.

        Root needs it too: without capabilities it may write only what is its own. Docker makes a missing workdir, as
        root's.

        Args:
            container: The container.
            image: The id of its image.
            workdir: The path, absolute.
            owner: The user.
            volumes: Where the image has volumes.

        Raises:
            EngineError: The path is no directory.
        """
        key = image, workdir
        directory = self._known.get(key)
        if directory is None:
            directory = self._known[key] = self._look(container, workdir, fresh=not mount_above(workdir, volumes))
        if directory.writable_by(owner):
            return
        mode = directory.mode | 0o700
        change_directory(self._pool, container, directory.path, uid=owner.uid, gid=owner.gid, mode=mode)

    def _look(self, container: str, workdir: str, *, fresh: bool) -> _Directory:
        state = path_state(self._pool, container, workdir)
        path = workdir
        if state is not None and state.target:
            path = state.target
            state = path_state(self._pool, container, path)
        if state is None or not state.directory or path == "/":
            msg = f"the workdir {workdir!r} is no directory in the image; choose another workdir"
            raise EngineError(msg)
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
