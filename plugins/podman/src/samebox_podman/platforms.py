"""Whether a service's host runs programs for another processor than its own, which only a try tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.engine.oci.agent_volume import LABEL
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.program import GUEST_PATH, MOUNT_POINT, agent_program
from samebox.errors import UnsupportedError
from samebox_podman.containers import remove_container

if TYPE_CHECKING:
    from samebox.engine.oci.image_facts import ImageFacts
    from samebox.engine.program import AgentProgram
    from samebox_podman.client import PodmanClient
    from samebox_podman.host import PodmanHost


def check_runnable(client: PodmanClient, host: PodmanHost, agent: AgentProgram, volume: str, image: ImageFacts) -> None:
    """Refuse an image whose programs the service's host can't run.

    Nothing is asked for one of the host's own platform. For another the agent itself is run once, which needs an
    emulator that the kernel knows of (binfmt_misc).

    Args:
        client: The service.
        host: What is known of it.
        agent: The agent for the image.
        volume: The volume with it.
        image: The image.

    Raises:
        UnsupportedError: It can't run them.
    """
    if agent.machine == agent_program(host.machine or None).machine:
        return
    if agent.machine not in host.runs:
        host.runs[agent.machine] = _try(client, volume, image)
    if reason := host.runs[agent.machine]:
        raise UnsupportedError(
            Capability.PLATFORM,
            "podman",
            f"the image is of {image.platform}, whose programs the {host.machine} host of Podman at "
            f"{client.address.url} can't run ({reason}); install an emulator there (qemu-user-static with "
            "binfmt-support), or take an image of its own platform",
        )


def _try(client: PodmanClient, volume: str, image: ImageFacts) -> str:
    spec = {
        "image": image.id,
        "entrypoint": [GUEST_PATH, "version"],
        "command": [],
        "user": "0:0",
        "netns": {"nsmode": "none"},
        "image_volume_mode": "ignore",
        "log_configuration": {"driver": "none"},
        "labels": {LABEL: ""},
        "volumes": [{"Name": volume, "Dest": MOUNT_POINT, "Options": ["ro", "nocopy"]}],
    }
    container = str(client.json("/containers/create", method="post", body=spec)["Id"])
    try:
        client.call("post", f"/containers/{container}/start")
        code = client.json(f"/containers/{container}/wait", method="post")
    except RefusedError as error:
        return error.words
    finally:
        remove_container(client, container)
    return "" if code == 0 else f"the agent ended with exit code {code}"
