"""Network: the network of a daemon's sandboxes, on which they do not reach one another."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

from samebox.engine.labels import MANAGED
from samebox.engine.oci.exposure import NOBODY, exposed, reach_argv, reach_labels
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import text_labels
from samebox.engine.program import MOUNT_POINT
from samebox.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox_docker.clients import ClientPool

NAME = "samebox-sandboxes"
ICC = "com.docker.network.bridge.enable_icc"
_BRIDGE = "com.docker.network.bridge.name"
_MTU = "com.docker.network.driver.mtu"


class Network:
    """The network of one daemon's sandboxes with `network=True`; made when it is needed.

    Args:
        pool: Clients of the daemon.
        identity: Returns what tells the daemon from others of its host.
    """

    def __init__(self, pool: ClientPool, identity: Callable[[], str]) -> None:
        self._pool = pool
        self._identity = identity
        self._known = False
        self._exposures: dict[str, str | None] = {}

    def ensure(self) -> None:
        """Make the network unless it is there; looked at once for each daemon.

        Raises:
            EngineError: Somebody else has made a network of that name, or Docker refused.
        """
        if not self._known:
            self._make()
            self._known = True

    def _make(self) -> None:
        found = self._inspect(NAME) or self._created()
        if text_labels(found).get(MANAGED) != "1" or (found.get("Options") or {}).get(ICC) != "false":
            raise EngineError(
                f"the network {NAME!r} on {self._pool.engine} was not made by samebox, and may let sandboxes reach one "
                "another; remove it, or name a network of your own with network="
            )

    def _created(self) -> dict[str, Any]:
        options = {
            ICC: "false",
            # Docker makes two networks of one name, but never two with the same bridge: one process makes it. Daemons
            # of one host must not share the bridge.
            _BRIDGE: f"sbx{hashlib.sha256(f'{self._identity()} {NAME}'.encode()).hexdigest()[:12]}",
        }
        default = (self._inspect("bridge") or {}).get("Options") or {}
        if _MTU in default:  # which the daemon's own option sets for its default network alone
            options[_MTU] = default[_MTU]
        refusal: RefusedError | None = None
        try:
            with self._pool.client() as client:
                client.create_network(NAME, "bridge", options, check_duplicate=True, labels={MANAGED: "1"})
        except RefusedError as error:
            refusal = error  # another process may have made it
        found = self._inspect(NAME)
        if found is None:
            why = refusal.words if refusal is not None else "it is gone again"
            raise EngineError(f"{self._pool.engine} could not make the network {NAME!r}: {why}") from refusal
        return found

    def heal(self, container: str, error: RefusedError) -> bool:
        """Give a container that can't be started for its network that network again, which was removed meanwhile.

        Args:
            container: Its id.
            error: Docker's refusal.

        Returns:
            Whether another try makes sense.
        """
        if error.status != 404 or not error.words.startswith("network "):
            return False
        with self._pool.client() as client:
            if client.inspect_container(container)["HostConfig"]["NetworkMode"] != NAME:
                return False
        self._make()
        # A container that has run before knows the network by its id.
        with contextlib.suppress(RefusedError), self._pool.client() as client:
            client.disconnect_container_from_network(container, NAME, force=True)
        with self._pool.client() as client:
            client.connect_container_to_network(container, NAME)
        return True

    def exposure(self, container: str) -> str | None:
        """Return why a running sandbox can be reached by others; None: it can't; see `Engine.exposure`.

        Docker takes the option also where it has no effect, as with --iptables=false, and tells nobody; so a second
        container tries, once for each daemon.
        """
        with self._pool.client() as client:
            found = client.inspect_container(container)
        joined = (found["NetworkSettings"].get("Networks") or {}).get(NAME)
        if joined is None:
            return f"it is on another network than {NAME!r}, which it shares with other containers"
        network = str(joined["NetworkID"])
        if network not in self._exposures:
            self._exposures[network] = self._tried(found, str(joined["IPAddress"]))
        return self._exposures[network]

    def _tried(self, sandbox: dict[str, Any], address: str) -> str | None:
        agent = next(mount["Name"] for mount in sandbox["Mounts"] if mount["Destination"] == MOUNT_POINT)
        body = {
            "Image": sandbox["Image"],
            "Entrypoint": reach_argv(address),
            "Cmd": [],
            "User": NOBODY,
            "Labels": reach_labels(text_labels(sandbox["Config"])),
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "NetworkMode": NAME,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges:true"],
                "ReadonlyRootfs": True,
                "LogConfig": {"Type": "none"},
                "Mounts": [{"Type": "volume", "Source": agent, "Target": MOUNT_POINT, "ReadOnly": True}],
                "Runtime": sandbox["HostConfig"]["Runtime"],
            },
        }
        with self._pool.client() as client:
            other = str(client.create_container_from_config(body)["Id"])
            try:
                client.start(other)
                code = int(client.wait(other)["StatusCode"])
            finally:
                client.remove_container(other, force=True, v=True)
        return exposed(self._pool.engine, code, "as with --iptables=false; let it use iptables")

    def prune(self) -> list[str]:
        """Remove the network if no container has it, a stopped one neither, and return its name if it was removed."""
        found = self._inspect(NAME)
        if found is None or text_labels(found).get(MANAGED) != "1":
            return []
        with self._pool.client() as client:
            if client.containers(all=True, quiet=True, filters={"network": [NAME]}):
                return []
        try:
            with self._pool.client() as client:
                client.remove_network(str(found["Id"]))
        except RefusedError:  # somebody uses it by now, or has removed it
            return []
        self._known = False
        return [NAME]

    def _inspect(self, name: str) -> dict[str, Any] | None:
        with self._pool.client() as client:
            found: list[dict[str, Any]] = client.networks(names=[name])
        return next((each for each in found if each["Name"] == name), None)  # Docker takes a part of a name as well
