"""Seccomp profiles: a file of this host, brought to where Podman reads it while it makes a container."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import tarfile
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.agent_volume import LABEL
from samebox.engine.oci.seccomp import UNCONFINED, chosen_profile, read_profile
from samebox_podman.containers import remove_container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.config.model import SandboxConfig
    from samebox_podman.client import PodmanClient

_PLACE = "/profile"
_FILE = "seccomp.json"


@contextlib.contextmanager
def delivered(client: PodmanClient, image: str, config: SandboxConfig) -> Iterator[dict[str, Any]]:
    """Bring a config's profile to the service, and give the request's part for it.

    Podman wants a path of its own host, which may be another one, or whose user may not read this user's files. So the
    profile is put into an anonymous volume of a container that is never started, for as long as the block runs:
    Podman reads it while it makes the sandbox, and keeps its content.

    Args:
        client: The service.
        image: The id of any image, as a container has to have one.
        config: What the sandbox is asked to be.

    Raises:
        ConfigError: The profile can't be read, or is none.
    """
    path = chosen_profile(config.security_opt)
    if path is None or path == UNCONFINED:
        yield {} if path is None else {"seccomp_profile_path": path}
        return
    profile = json.dumps(read_profile(path))
    spec = {
        "name": f"samebox-seccomp-{secrets.token_hex(8)}",
        "image": image,
        "entrypoint": [_PLACE],
        "command": [],
        "user": "0:0",
        "netns": {"nsmode": "none"},
        "image_volume_mode": "ignore",
        "labels": {LABEL: ""},
        "volumes": [{"Name": "", "Dest": _PLACE, "Options": ["rw", "nocopy"]}],
    }
    container = str(client.json("/containers/create", method="post", body=spec)["Id"])
    try:
        (volume,) = client.json(f"/containers/{container}/json")["Mounts"]
        where = f"/containers/{container}/archive"
        client.call("put", where, params={"path": _PLACE, "copyUIDGID": "false"}, data=_archive(profile))
        yield {"seccomp_profile_path": f"{volume['Source']}/{_FILE}"}
    finally:
        remove_container(client, container)


def _archive(profile: str) -> bytes:
    data, buffer = profile.encode(), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(_FILE)
        member.size, member.mode = len(data), 0o644
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
