"""AgentVolume: the volume with the agent on a Podman service, filled by the archive API of a container."""

from __future__ import annotations

import contextlib
import io
import tarfile
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from samebox.engine.oci.agent_volume import LABEL, volume_name
from samebox.engine.oci.default_profile import default_profile_text
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.program import GUEST_PATH, MOUNT_POINT
from samebox_podman.containers import remove_container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.engine.program import AgentProgram
    from samebox_podman.client import PodmanClient

SETTLED = 60.0
"""How old a volume is that no other process can still be filling, in seconds."""
PROFILES = {False: "seccomp.json", True: "seccomp-lasting.json"}
"""The files beside the agent with the seccomp profiles, by `lasting`: Podman reads one from its own host, by a path."""
_AGENT = GUEST_PATH.rpartition("/")[2]
_CHUNK = 64 << 10
_OPEN, _READABLE = 0o755, 0o644


class AgentVolume:
    """Delivers agents to one service; a `samebox.engine.oci.agent_volume.AgentStore`.

    Args:
        client: The service.
    """

    def __init__(self, client: PodmanClient) -> None:
        self._client = client
        self.engine = client.engine

    def settled(self, program: AgentProgram) -> bool:
        """Return whether the volume is there and old enough that nobody is still filling it."""
        response = self._client.call("get", f"/volumes/{volume_name(program)}/json", accept=(404,))
        if response.status_code == 404:
            return False
        created = datetime.fromisoformat(self._client.decoded(response)["CreatedAt"])
        # By the service's clock, which made the volume.
        now = parsedate_to_datetime(response.headers["Date"]) if "Date" in response.headers else datetime.now(UTC)
        return (now - created).total_seconds() > SETTLED

    def directory(self, program: AgentProgram) -> str:
        """Return the path of the volume, which is there, on the service's host."""
        return str(self._client.json(f"/volumes/{volume_name(program)}/json")["Mountpoint"])

    def make_installer(self, program: AgentProgram, image: str) -> str:
        """Create the container that delivers; see `samebox.engine.oci.agent_volume.AgentStore`."""
        self._make_volume(program)
        name = volume_name(program)
        spec = {
            "name": name,
            "image": image,
            "entrypoint": [GUEST_PATH],
            "command": [],
            "user": "0:0",
            "netns": {"nsmode": "none"},
            "image_volume_mode": "ignore",
            "labels": {LABEL: program.digest},
            "volumes": [{"Name": name, "Dest": MOUNT_POINT, "Options": ["rw", "nocopy"]}],
        }
        return str(self._client.json("/containers/create", method="post", body=spec)["Id"])

    def held(self, installer: str, program: AgentProgram) -> bytes:
        """Return what the volume has as the agent; see `samebox.engine.oci.agent_volume.AgentStore`."""
        path, where = f"/containers/{installer}/archive", {"path": MOUNT_POINT}
        response = self._client.call("get", path, params=where, stream=True, accept=(404,))
        profiles = _profiles()
        largest = sum(map(len, profiles.values())) + program.path.stat().st_size
        with contextlib.closing(response):
            if response.status_code == 404:
                return b""
            data = io.BytesIO()
            try:
                for chunk in response.iter_content(_CHUNK):
                    data.write(chunk)
                    if data.tell() > largest + _CHUNK:
                        break
            except OSError as error:
                raise self._client.unreachable(error) from error
        data.seek(0)
        try:
            with tarfile.open(fileobj=data, mode="r:") as archive:
                found = dict(_files(archive, largest))
        except tarfile.TarError:
            return b""
        mode, content = found.pop(_AGENT, (0, b""))
        others = {"": (_OPEN, b""), **{name: (_READABLE, profile) for name, profile in profiles.items()}}
        return content if mode == program.mode and found == others else b""

    def put(self, installer: str, data: bytes, mode: int) -> None:
        """Put the agent into the volume; see `samebox.engine.oci.agent_volume.AgentStore`."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            root = tarfile.TarInfo("./")
            root.type, root.mode = tarfile.DIRTYPE, _OPEN
            archive.addfile(root)
            profiles = [(name, profile, _READABLE) for name, profile in _profiles().items()]
            for name, content, bits in (*profiles, (_AGENT, data, mode)):
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), bits
                archive.addfile(member, io.BytesIO(content))
        params = {"path": MOUNT_POINT, "copyUIDGID": "false"}
        self._client.call("put", f"/containers/{installer}/archive", params=params, data=buffer.getvalue())

    def remove(self, installer: str) -> None:
        """Remove a container; see `samebox.engine.oci.agent_volume.AgentStore`."""
        remove_container(self._client, installer)

    def attempt(self, program: AgentProgram, image: str) -> str:
        """Run an agent that was delivered, and return why it could not be run, or ""."""
        spec = {
            "image": image,
            "entrypoint": [GUEST_PATH, "version"],
            "command": [],
            "user": "0:0",
            "netns": {"nsmode": "none"},
            "image_volume_mode": "ignore",
            "log_configuration": {"driver": "none"},
            "labels": {LABEL: ""},
            "volumes": [{"Name": volume_name(program), "Dest": MOUNT_POINT, "Options": ["ro", "nocopy"]}],
        }
        container = str(self._client.json("/containers/create", method="post", body=spec)["Id"])
        try:
            self._client.call("post", f"/containers/{container}/start")
            code = self._client.json(f"/containers/{container}/wait", method="post")
        except RefusedError as error:
            return error.words
        finally:
            remove_container(self._client, container)
        return "" if code == 0 else f"the agent ended with exit code {code}"

    def _make_volume(self, program: AgentProgram) -> None:
        # uid and gid keep Podman from giving the volume to the user of the first container that mounts it, with the
        # mode of the directory that its image happens to have there (fixVolumePermissions); nocopy keeps it from
        # copying what that directory holds.
        body = {
            "Name": volume_name(program),
            "Label": {LABEL: program.digest},
            "Options": {"o": "uid=0,gid=0", "nocopy": "true"},
        }
        try:
            self._client.call("post", "/volumes/create", body=body)
        except RefusedError as error:
            if "already exists" not in error.words.lower():
                raise


def _profiles() -> dict[str, bytes]:
    """Return the files with the seccomp profiles, by name."""
    return {name: default_profile_text(lasting=lasting).encode() for lasting, name in PROFILES.items()}


def _files(archive: tarfile.TarFile, size: int) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """Yield the modes and contents of what a directory's archive has, by name; "" is the directory, which comes first.

    Versions of Podman differ in whether the archive's names begin with the directory's.
    """
    for position, member in enumerate(archive):
        content = archive.extractfile(member) if member.isreg() and member.size <= size else None
        name = member.name.rpartition("/")[2] if position else ""
        yield name, (member.mode & 0o7777, content.read() if content is not None else b"")
