"""SandboxDirectories: sees to the workdir, and to the directories below tmpfs mounts, before a sandbox's start."""

from __future__ import annotations

import tarfile
import time
from typing import TYPE_CHECKING, Any, Literal

from samebox.engine.mistakes import no_workdir
from samebox.engine.oci.path_stat import HEADER, parse_path_stat
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.tar_stream import END
from samebox_podman.spec import tmpfs_modes
from samebox_podman.workdir import Look, plan_workdir

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samebox.config.model import SandboxConfig
    from samebox.engine.oci.image_facts import ImageFacts
    from samebox.engine.oci.path_stat import PathStat
    from samebox_podman.client import PodmanClient
    from samebox_podman.host import PodmanHost
    from samebox_podman.workdir import WorkdirPlan


class SandboxDirectories:
    """What one sandbox needs in its file system before it starts.

    What the image has is learnt through the archive API of a created container (25 ms), once for each image and path.

    Args:
        client: The service.
        host: What is known of it.
        image: The sandbox's image.
        config: What the sandbox is asked to be.
    """

    def __init__(self, client: PodmanClient, host: PodmanHost, image: ImageFacts, config: SandboxConfig) -> None:
        self._client = client
        self._host = host
        self._image = image
        self._config = config

    def plan(self) -> WorkdirPlan:
        """Decide how the workdir comes to be, as far as the image is known.

        Raises:
            ConfigError: The image has a file there.
        """
        config, known = self._config, self._host.present
        look = None
        if (self._image.id, config.workdir) in known:
            present = known[self._image.id, config.workdir]
            look = Look(present)
            if present is not None and present.kind == "other":
                raise no_workdir(config.workdir)
        return plan_workdir(
            config.workdir,
            read_only=config.read_only,
            tmpfs=config.tmpfs,
            volumes=self._image.volumes,
            mounts={mount.target: mount.type == "volume" and not mount.read_only for mount in config.mounts},
            version=self._host.version,
            root=(config.user or self._image.user).partition(":")[0] in {"", "0", "root"},
            mapped=config.userns not in {None, "host"},
            look=look,
        )

    def learnt(self, container: str, plan: WorkdirPlan) -> bool:
        """Look at what the image has where it matters for a plan.

        Args:
            container: A created container of the image.
            plan: The plan.

        Returns:
            Whether something was learnt, so that the plan may be another one now.
        """
        of_image = plan.create or (plan.put is not None and not plan.mounted)
        if not of_image or (self._image.id, self._config.workdir) in self._host.present:
            return False
        self._look(container, self._config.workdir)
        return True

    def put(self, container: str, plan: WorkdirPlan, spec: Mapping[str, Any], runtime: str | None) -> None:
        """Put the workdir where it is to be, and give the directories below tmpfs mounts the mounts' modes.

        Args:
            container: The created container.
            plan: The plan that it was made by.
            spec: The request that it was made by.
            runtime: The OCI runtime asked for.

        Raises:
            ConfigError: The workdir is below something that is no directory.
        """
        if plan.put is not None:
            mode = plan.put
            if plan.mounted and (present := self._present(container, self._config.workdir)) is not None:
                mode = present.mode | 0o700 if present.kind == "directory" else mode
            # After the first time that something is put into a volume, 5.4 gives it to whom the image's directory below
            # the mount belongs to.
            for _ in range(2 if plan.mounted else 1):
                self._put(container, self._config.workdir, mode, owner="user")
            if plan.mounted:
                self._give_hidden(container, mode)
        if not self._host.hides_modes(runtime):
            return
        for path, mode in tmpfs_modes(spec).items():
            self._look(container, path)
            present = self._host.present[self._image.id, path]
            if present is not None and (present.kind == "link" or present.mode != mode):
                self._put(container, path, mode, owner="root")

    def _give_hidden(self, container: str, mode: int) -> None:
        """Give the user the image's directory below a volume at the workdir: a new volume gets its owner at the start.

        What is put into the directory's parent goes to the image's directory, not to the volume.
        """
        workdir = self._config.workdir
        parent, _, name = workdir.rpartition("/")
        at = {*self._image.volumes, *(mount.target for mount in self._config.mounts)}
        if workdir not in at or (parent and self._present(container, parent) is None):
            return
        params = {"path": parent or "/", "copyUIDGID": "true"}
        self._client.call("put", f"/containers/{container}/archive", params=params, data=_directory(mode, name))

    def _look(self, container: str, path: str) -> None:
        if (self._image.id, path) not in self._host.present:
            self._host.present[self._image.id, path] = self._present(container, path)

    def _present(self, container: str, path: str) -> PathStat | None:
        # A link to nothing is answered by 404 as well, but with the header.
        where = f"/containers/{container}/archive"
        response = self._client.call("head", where, params={"path": path}, accept=(404,))
        header = response.headers.get(HEADER)
        return None if header is None else parse_path_stat(header)

    def _put(self, container: str, path: str, mode: int, owner: Literal["user", "root"]) -> None:
        params = {"path": path, "copyUIDGID": "true" if owner == "user" else "false"}
        try:
            self._client.call("put", f"/containers/{container}/archive", params=params, data=_directory(mode))
        except RefusedError as error:
            if "not a directory" in error.words and path == self._config.workdir:
                raise no_workdir(path) from None
            raise


def _directory(mode: int, name: str = "") -> bytes:
    """Return an archive of one directory: the one that it is put into, or one of a name in that."""
    member = tarfile.TarInfo(f"./{name}")
    member.type, member.mode, member.mtime = tarfile.DIRTYPE, mode, int(time.time())
    return member.tobuf(tarfile.PAX_FORMAT) + END
