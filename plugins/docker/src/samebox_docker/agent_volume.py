"""AgentVolume: the agent's program in a named volume of the daemon, one per digest, read-only in every sandbox."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import threading
import time
from typing import TYPE_CHECKING, Any

from samebox.engine.program import GUEST_PATH, MOUNT_POINT, SERVE_ARGV
from samebox.errors import EngineError, EngineUnavailableError
from samebox_docker.archive_api import path_state, read_file, tar_of
from samebox_docker.failure import RefusedError

if TYPE_CHECKING:
    from samebox.engine.program import AgentProgram
    from samebox_docker.clients import ClientPool

PREFIX = "samebox-agent-"
LABEL = "samebox.agent"
WAIT = 20.0
"""How long another process may take for a delivery before it is held for dead, in seconds."""
_FILE = GUEST_PATH.rpartition("/")[2]


class AgentVolume:
    """Delivers agents to one daemon. No path of this host is involved, so that it works with a remote daemon too.

    Args:
        pool: Clients of the daemon.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._used: dict[str, tuple[AgentProgram, str]] = {}
        """By digest: what was delivered or found whole, and an image for a container to deliver it with."""

    @staticmethod
    def name(program: AgentProgram) -> str:
        """Return the name of an agent's volume."""
        return PREFIX + program.digest[:16]

    def mount(self, program: AgentProgram, *, read_only: bool = True) -> dict[str, Any]:
        """Return the mount of an agent's volume; Docker makes the volume with the first container that has it."""
        return {
            "Type": "volume",
            "Source": self.name(program),
            "Target": MOUNT_POINT,
            "ReadOnly": read_only,
            # NoCopy: else what the image has under the same path would become part of the volume.
            "VolumeOptions": {"NoCopy": True, "Labels": {LABEL: program.digest}},
        }

    def ensure(self, program: AgentProgram, *, container: str, image: str) -> None:
        """See that the volume holds the agent; one look per engine object.

        Args:
            program: The agent.
            container: A container with the volume, where to look.
            image: Any image, for the container that delivers.

        Raises:
            EngineError: The delivery failed.
        """
        if program.digest in self._used:
            self._used[program.digest] = program, image  # an earlier one may be removed by now
            return
        with self._lock:
            if program.digest in self._used:
                return
            state = path_state(self._pool, container, GUEST_PATH)
            # The size is enough here: a delivery shows the file under its name only when it is whole, and the first
            # exchange proves the digest.
            if state is None or state.size != program.path.stat().st_size or not state.mode & 0o111:
                self._deliver(program, image)
            self._used[program.digest] = program, image

    def heal(self) -> bool:
        """Compare what the volumes in use hold with the agents of this installation; deliver anew what differs.

        Returns:
            Whether anything was wrong.
        """
        with self._lock:
            try:
                wrong = [self._deliver(program, image) for program, image in list(self._used.values())]
            except RefusedError as error:
                if error.status != 404:
                    raise
                return False  # the image was removed; what went wrong before is the error to show
        return any(wrong)

    def _deliver(self, program: AgentProgram, image: str) -> bool:
        installer = self._locked_installer(program, image)
        try:
            data = program.data
            if hashlib.sha256(self._held(installer, len(data))).hexdigest() == program.digest:
                return False
            with self._pool.client() as client:
                client.put_archive(installer, MOUNT_POINT, _package(data))
        finally:
            self._remove(installer)
        return True

    def _locked_installer(self, program: AgentProgram, image: str) -> str:
        """Create the container that delivers.

        Its fixed name is the lock among all processes, on all hosts, that use the daemon.
        """
        name = self.name(program)
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
        while True:
            deadline = time.monotonic() + WAIT
            while time.monotonic() < deadline:
                try:
                    with self._pool.client() as client:
                        return str(client.create_container_from_config(body, name)["Id"])
                except RefusedError as error:
                    if error.status != 409:
                        raise
                time.sleep(0.05)
            self._remove(name)  # its process was killed in the middle

    def _held(self, installer: str, size: int) -> bytes:
        try:
            return read_file(self._pool, installer, GUEST_PATH, size + 1)
        except EngineUnavailableError:
            raise
        except EngineError:
            return b""

    def _remove(self, installer: str) -> None:
        # Not there any more, or being removed: another process has held this one for dead.
        with contextlib.suppress(RefusedError), self._pool.client() as client:
            client.remove_container(installer, force=True)


def _package(data: bytes) -> bytes:
    """Return the archive to deliver: the program under another name, then a hard link to it.

    So the name that sandboxes start appears with the whole file behind it, closed and ready to be executed, or not at
    all.
    """
    file = tarfile.TarInfo(f".{_FILE}.new")
    file.mode = 0o555
    link = tarfile.TarInfo(_FILE)
    link.type, link.linkname, link.mode = tarfile.LNKTYPE, file.name, 0o555
    return tar_of((file, data), (link, b""))
