"""Networks: a network for each sandbox of a rootful service, as the containers of one network reach one another."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from samebox.engine.labels import MANAGED
from samebox.engine.oci.exposure import NOBODY, exposed, is_apart, reach_argv, reach_labels
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import container_state, text_labels
from samebox.engine.program import MOUNT_POINT
from samebox.errors import EngineError, SandboxError
from samebox_podman.host import host_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox_podman.client import PodmanClient

LABEL = "samebox.network"
"""The label of a sandbox with the name of its network."""
_STRICT = (5, 0)
"""The first version that can keep a network apart from those that don't ask for it as well."""
_TRIES = 200
"""How often the container that stays tries, 300 ms each; it is removed long before."""
_PATIENCE = 0.8
"""How long it may take to reach a sandbox that can be reached, in seconds: two tries and some."""
_ABANDONED = "10m"
"""The age from which on a network without a container is not one that is about to get it."""


class Networks:
    """The networks of one service's sandboxes with `network=True`.

    A rootless service needs none: each of its containers has a network to itself.

    Args:
        client: The service.
    """

    def __init__(self, client: PodmanClient) -> None:
        self._client = client

    @contextlib.contextmanager
    def made(self, *, wanted: bool) -> Iterator[str | None]:
        """Make a network for one sandbox, and yield its name; it is removed again if the block raises.

        Args:
            wanted: Whether the sandbox is to have one; else None is yielded.

        Raises:
            EngineError: Podman refused.
        """
        if not wanted:
            yield None
            return
        name = self._make()
        try:
            yield name
        except BaseException:
            self.remove(name)
            raise

    def _make(self) -> str:
        mark = secrets.token_hex(6)
        body = {
            "name": f"samebox-{mark}",
            "driver": "bridge",
            # Podmans of one host, which don't know one another's networks, must not share a bridge.
            "network_interface": f"sbx{mark}",
            "dns_enabled": False,  # the host's name servers, as on Podman's default network
            "labels": {MANAGED: "1"},
            "options": {"isolate": "strict" if host_at(self._client.address.url).version >= _STRICT else "true"},
        }
        try:
            self._client.call("post", "/networks/create", body=body)
        except RefusedError as error:
            raise EngineError(f"{self._client.engine} could not make the sandbox's network: {error.words}") from error
        return str(body["name"])

    def remove(self, name: str | None) -> None:
        """Remove a network that no container has any more; what fails is left to `prune`."""
        if name is not None:
            with contextlib.suppress(SandboxError):
                self._client.call("delete", f"/networks/{name}", accept=(404,))

    def prune(self) -> list[str]:
        """Remove the networks of sandboxes that somebody else has removed, and return their names."""
        filters = json.dumps({"label": [f"{MANAGED}=1"], "until": [_ABANDONED]})
        found = self._client.json("/networks/prune", {"filters": filters}, method="post")
        return [str(each["Name"]) for each in found or () if not each.get("Error")]

    def exposure(self, sandbox: Mapping[str, Any]) -> str | None:
        """Have other containers, on networks of their own, try to reach a running sandbox; see `Engine.exposure`.

        One tries as it starts, and one goes on trying after the first one's end, as netavark with iptables forgets all
        isolation when a network is removed, until the next one is made.

        Args:
            sandbox: The answer of inspect.
        """
        labels = text_labels(sandbox["Config"])
        joined = sandbox["NetworkSettings"].get("Networks") or {}
        if (name := labels.get(LABEL)) not in joined:
            return f"it is on {', '.join(joined) or 'no network'}, which it may share with other containers"
        trying = reach_argv(str(joined[name]["IPAddress"]))
        with self._container(sandbox, [*trying, str(_TRIES)]) as staying:
            with self._container(sandbox, trying) as passing:
                code = int(self._client.json(f"/containers/{passing}/wait", {"condition": "stopped"}, method="post"))
            if is_apart(code):
                code = self._ended(staying, code)
        return exposed(
            self._client.engine,
            code,
            "as netavark with iptables, which forgets to when a network is removed; let it use nftables "
            "(firewall_driver in containers.conf, since Podman 5), use a rootless service, network='slirp4netns'",
        )

    @contextlib.contextmanager
    def _container(self, sandbox: Mapping[str, Any], command: list[str]) -> Iterator[str]:
        """Start a container of a sandbox's image, with the agent, on a network of its own, and yield its id."""
        agent = next(mount["Name"] for mount in sandbox["Mounts"] if mount["Destination"] == MOUNT_POINT)
        with self.made(wanted=True) as network:
            spec = {
                "image": sandbox["Image"],
                "entrypoint": command,
                "command": [],
                "user": NOBODY,
                "labels": reach_labels(text_labels(sandbox["Config"])) | {LABEL: network},
                "cap_drop": ["all"],
                "no_new_privileges": True,
                "read_only_filesystem": True,
                "log_configuration": {"driver": "none"},
                "healthconfig": {"Test": ["NONE"]},
                "volumes": [{"Name": agent, "Dest": MOUNT_POINT, "Options": ["ro", "nocopy", "nosuid", "nodev"]}],
                "netns": {"nsmode": "bridge"},
                "networks": {network: {}},
                "oci_runtime": sandbox["OCIRuntime"],
            }
            container = str(self._client.json("/containers/create", method="post", body=spec)["Id"])
            try:
                self._client.call("post", f"/containers/{container}/start")
                yield container
            finally:
                params = {"force": "true", "volumes": "true", "timeout": 0}
                self._client.call("delete", f"/containers/{container}", params=params, accept=(404,))
                self.remove(network)

    def _ended(self, container: str, otherwise: int) -> int:
        """Return the exit code of a container that ends soon; another one if it does not."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            state = self._client.json(f"/containers/{container}/json")["State"]
            if container_state(str(state["Status"])) == "stopped":
                return int(state["ExitCode"])
            time.sleep(0.05)
        return otherwise
