"""AgentVolume: the volume with the agent, filled once for each agent and service, and mounted into every sandbox."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from samebox.engine.program import GUEST_PATH, MOUNT_POINT
from samebox.errors import EngineError
from samebox_podman.failure import RefusedError
from samebox_podman.workdir import parse_stat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.engine.program import AgentProgram
    from samebox_podman.client import PodmanClient

LABEL = "samebox.agent"
PREFIX = "samebox-agent-"
SETTLED = 60.0
"""How old a volume is that no other process can still be filling, in seconds."""
REMOVE_WITHIN = 10.0
"""How long Podman may refuse to remove a container, in seconds."""
FILL_WITHIN = 20.0
"""How long another process may take to fill a volume before it counts as dead, in seconds."""


class AgentVolume:
    """The volume for one agent on one service.

    It is filled through the archive API of a container that is created and never started, which works with a remote
    service, an image without a shell and every hardening. Every such container has the same name, so that two processes
    can't fill it at once: to replace a file while others run it would take it away from them for a moment.

    Args:
        client: The service.
        agent: What is to be in it.
    """

    def __init__(self, client: PodmanClient, agent: AgentProgram) -> None:
        self._client = client
        self._agent = agent
        self.name = PREFIX + agent.digest[:16]
        self._filler = f"{self.name}-fill"

    def settled(self) -> bool:
        """Return whether the volume is there and old enough that nobody is still filling it.

        That it is whole is proven by the agent's first exchange, and healed if it is not.
        """
        response = self._client.call("get", f"/volumes/{self.name}/json", accept=(404,))
        if response.status_code == 404:
            return False
        created = datetime.fromisoformat(response.json()["CreatedAt"])
        # By the service's clock, which made the volume.
        now = parsedate_to_datetime(response.headers["Date"]) if "Date" in response.headers else datetime.now(UTC)
        return (now - created).total_seconds() > SETTLED

    def fill(self, image: str) -> bool:
        """Put the agent into the volume unless it is there and whole.

        Args:
            image: The id of any image of the agent's architecture, as a container has to have one.

        Returns:
            Whether it was wrong, or has just been put right by another process.

        Raises:
            EngineError: It can't be filled.
        """
        self._make_volume()
        container, waited = self._make_filler(image)
        try:
            if self._whole(container):
                return waited
            self._client.call(
                "put",
                f"/containers/{container}/archive",
                params={"path": MOUNT_POINT, "copyUIDGID": "false"},
                data=self._archive(),
            )
            if not self._whole(container):
                raise EngineError(
                    f"the agent was put into the volume {self.name} of Podman at {self._client.address.url}, but what "
                    "is there is not the same. Look for a full disk there, and remove the volume: "
                    f"`podman volume rm {self.name}`."
                )
        finally:
            remove_container(self._client, container)
        return True

    def _make_volume(self) -> None:
        # uid and gid keep Podman from giving the volume to the user of the first container that mounts it, with the
        # mode of the directory that its image happens to have there (fixVolumePermissions); nocopy keeps it from
        # copying what that directory holds.
        body = {
            "Name": self.name,
            "Label": {LABEL: self._agent.digest},
            "Options": {"o": "uid=0,gid=0", "nocopy": "true"},
        }
        with _ignore("already exists"):
            self._client.call("post", "/volumes/create", body=body)

    def _make_filler(self, image: str) -> tuple[str, bool]:
        spec = {
            "name": self._filler,
            "image": image,
            "entrypoint": [GUEST_PATH],
            "command": [],
            "user": "0:0",
            "netns": {"nsmode": "none"},
            "image_volume_mode": "ignore",
            "labels": {LABEL: self._agent.digest},
            "volumes": [{"Name": self.name, "Dest": MOUNT_POINT, "Options": ["rw", "nocopy"]}],
        }
        waited = False
        deadline = time.monotonic() + FILL_WITHIN
        while True:
            try:
                return str(self._client.call("post", "/containers/create", body=spec).json()["Id"]), waited
            except RefusedError as error:
                if not error.name_taken:
                    raise
            waited = True
            if time.monotonic() > deadline:
                # Its process was killed in the middle.
                remove_container(self._client, self._filler)
                deadline = time.monotonic() + FILL_WITHIN
            time.sleep(0.05)

    def _whole(self, container: str) -> bool:
        root = self._client.call("head", f"/containers/{container}/archive", params={"path": MOUNT_POINT})
        stat = root.headers.get("X-Docker-Container-Path-Stat")
        if stat is None or parse_stat(stat).mode & 0o555 != 0o555:
            return False
        path = f"/containers/{container}/archive"
        response = self._client.call("get", path, params={"path": GUEST_PATH}, stream=True, accept=(404,))
        with contextlib.closing(response):
            if response.status_code == 404:
                return False
            try:
                with tarfile.open(fileobj=response.raw, mode="r|") as archive:
                    return self._right(archive)
            except tarfile.TarError:
                return False

    def _right(self, archive: tarfile.TarFile) -> bool:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or member.size != self._agent.path.stat().st_size or member.mode & 0o555 != 0o555:
                return False
            with content:
                return hashlib.sha256(content.read(member.size)).hexdigest() == self._agent.digest
        return False

    def _archive(self) -> bytes:
        data = self._agent.data
        if hashlib.sha256(data).hexdigest() != self._agent.digest:
            raise EngineError(f"{self._agent.path} has changed since this process began; start the process anew")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, kind, size in (("./", tarfile.DIRTYPE, 0), ("agent", tarfile.REGTYPE, len(data))):
                member = tarfile.TarInfo(name)
                member.type, member.size, member.mode = kind, size, 0o755
                archive.addfile(member, io.BytesIO(data))
        return buffer.getvalue()


def remove_container(client: PodmanClient, container: str) -> None:
    """End and remove a container with its anonymous volumes; nothing happens if it is not there.

    Podman refuses while another call, or its own clean-up after an end, is at work on it, so it is asked again.
    """
    # `volumes`, as Podman's own API calls it: its `v` is for Docker's, and ignored here.
    params: dict[str, Any] = {"force": "true", "volumes": "true", "timeout": 0}
    deadline = time.monotonic() + REMOVE_WITHIN
    while True:
        try:
            client.call("delete", f"/containers/{container}", params=params)
        except RefusedError as error:
            if error.no_container:
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@contextlib.contextmanager
def _ignore(words: str) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        if words not in error.words.lower():
            raise
