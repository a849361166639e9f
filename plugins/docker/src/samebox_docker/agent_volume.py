"""AgentVolume: the volume with the agent on a Docker daemon, filled by the archive API of a container."""

from __future__ import annotations

import contextlib
import tarfile
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.agent_volume import LABEL, AgentVolumes, volume_name
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.program import GUEST_PATH, MOUNT_POINT, SERVE_ARGV
from samebox.errors import EngineError, EngineUnavailableError
from samebox_docker.archive_api import path_state, read_file, tar_of

if TYPE_CHECKING:
    from samebox.engine.program import AgentProgram
    from samebox_docker.clients import ClientPool

_FILE = GUEST_PATH.rpartition("/")[2]


class AgentVolume:
    """Delivers agents to one daemon; a `samebox.engine.oci.agent_volume.AgentStore`.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self._volumes = AgentVolumes()
        self.engine = pool.engine
        self.runs: dict[str, str] = {}
        """Why agents for a machine other than the host's own can't be run, by machine; "": they can."""

    def mount(self, program: AgentProgram, *, read_only: bool = True) -> dict[str, Any]:
        """Return the mount of an agent's volume; Docker makes the volume with the first container that has it."""
        return {
            "Type": "volume",
            "Source": volume_name(program),
            "Target": MOUNT_POINT,
            "ReadOnly": read_only,
            # NoCopy: else what the image has under the same path would become part of the volume.
            "VolumeOptions": {"NoCopy": True, "Labels": {LABEL: program.digest}},
        }

    def ensure(self, program: AgentProgram, *, container: str, image: str) -> None:
        """See that the volume holds the agent; it is read once for each daemon.

        Args:
            program: The agent.
            container: A container with the volume, where to look.
            image: Any image, for the container that delivers.

        Raises:
            EngineError: The delivery failed.
        """
        self._volumes.ensure(self, program, image, lambda: self.held(container, program) == program.data)

    def attempt(self, program: AgentProgram, image: str) -> str:
        """Deliver an agent, run it, and return why it could not be run, or ""."""
        self._volumes.ensure(self, program, image, lambda: False)
        body = {
            "Image": image,
            "Entrypoint": [GUEST_PATH, "version"],
            "User": "0:0",
            "Labels": {LABEL: ""},
            "HostConfig": {"NetworkMode": "none", "Mounts": [self.mount(program)], "LogConfig": {"Type": "none"}},
        }
        with self._pool.client() as client:
            container = str(client.create_container_from_config(body)["Id"])
        try:
            with self._pool.client() as client:
                client.start(container)
                code = client.wait(container)["StatusCode"]
        except RefusedError as error:
            return error.words
        finally:
            with contextlib.suppress(RefusedError), self._pool.client() as client:
                client.remove_container(container, force=True, v=True)
        return "" if code == 0 else f"the agent ended with exit code {code}"

    def heal(self) -> bool:
        """Deliver anew what differs; see `samebox.engine.oci.agent_volume.AgentVolumes.heal`."""
        return self._volumes.heal(self)

    def make_installer(self, program: AgentProgram, image: str) -> str:
        """Create the container that delivers; see `samebox.engine.oci.agent_volume.AgentStore`."""
        body = {
            "Image": image,
            "Entrypoint": list(SERVE_ARGV),  # never started, but Docker wants a command
            "Labels": {LABEL: program.digest},
            "HostConfig": {
                "NetworkMode": "none",
                "Mounts": [self.mount(program, read_only=False)],
                "LogConfig": {"Type": "none"},
            },
        }
        with self._pool.client() as client:
            return str(client.create_container_from_config(body, volume_name(program))["Id"])

    def held(self, installer: str, program: AgentProgram) -> bytes:
        """Return what the volume has as the agent; see `samebox.engine.oci.agent_volume.AgentStore`."""
        try:
            state = path_state(self._pool, installer, GUEST_PATH)
            if state is None or state.mode & 0o777 != program.mode:
                return b""
            return read_file(self._pool, installer, GUEST_PATH, program.path.stat().st_size + 1)
        except EngineUnavailableError:
            raise
        except EngineError:
            return b""

    def put(self, installer: str, data: bytes, mode: int) -> None:
        """Put the agent into the volume; see `samebox.engine.oci.agent_volume.AgentStore`."""
        with self._pool.client() as client:
            client.put_archive(installer, MOUNT_POINT, _package(data, mode))

    def remove(self, installer: str) -> None:
        """Remove a container; see `samebox.engine.oci.agent_volume.AgentStore`."""
        # Not there any more, or being removed: another process has held this one for dead.
        with contextlib.suppress(RefusedError), self._pool.client() as client:
            client.remove_container(installer, force=True)


def _package(data: bytes, mode: int) -> bytes:
    """Return the archive to deliver: the program under another name, then a hard link to it.

    So the name that sandboxes start appears with the whole file behind it, closed and ready to be executed, or not at
    all.
    """
    file = tarfile.TarInfo(f".{_FILE}.new")
    file.mode = mode
    link = tarfile.TarInfo(_FILE)
    link.type, link.linkname, link.mode = tarfile.LNKTYPE, file.name, mode
    return tar_of((file, data), (link, b""))
