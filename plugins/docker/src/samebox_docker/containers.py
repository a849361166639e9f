"""Containers: the containers of one daemon by their names and ids."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.engine.labels import MANAGED
from samebox.engine.oci import sandboxes
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import inspected_status, published_port
from samebox.errors import EngineError, ImageNotFoundError, SandboxNotFoundError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.config.ports import HostPort
    from samebox.engine import SandboxStatus
    from samebox.errors import SandboxError
    from samebox_docker.clients import ClientPool
    from samebox_docker.network import Network

_REMOVAL = 30.0
"""How long to wait for a removal that someone else has begun, in seconds."""


class Containers:
    """Makes, starts, ends and finds containers; its methods raise what the engine's of the same name do.

    Args:
        pool: The daemon's clients.
        network: The network of sandboxes, without which some can't start.
    """

    def __init__(self, pool: ClientPool, network: Network) -> None:
        self._pool = pool
        self._network = network
        self._engine = pool.engine

    def create(self, name: str, body: dict[str, Any], labels: Mapping[str, str]) -> str:
        """Create a container, and return its id.

        Args:
            name: Its name.
            body: The request.
            labels: Its labels, by which it is known again when the answer was lost.

        Raises:
            SandboxExistsError: The name is taken.
            ImageNotFoundError: The image was removed meanwhile.
            UnsupportedError: The daemon's storage can't limit sizes.
            EngineError: Docker refused.
        """
        try:
            with self._pool.client() as client:
                return str(client.create_container_from_config(body, name)["Id"])
        except RefusedError as error:
            if error.name_taken:
                raise sandboxes.name_taken(self._engine, name) from None
            if error.status == 404:
                raise ImageNotFoundError(
                    f"the image was removed from {self._engine} meanwhile: {error.words}"
                ) from None
            if "storage-opt" in error.words:
                raise UnsupportedError(Capability.DISK_LIMIT, "docker", error.words) from None
            raise sandboxes.refused(self._engine, "create", name, error.words) from None
        except BaseException:
            # Nobody knows whether it was made: the answer did not come.
            with contextlib.suppress(EngineError):
                status = self.inspect(name)
                if dict(status.labels) == dict(labels):
                    self.remove(status.id)
            raise

    def start(self, sandbox_id: str) -> None:
        """Start a container; nothing happens to a running one.

        Raises:
            SandboxNotFoundError: It is not there.
            EngineError: It can't be started; the text has Docker's words.
        """
        with self.about(sandbox_id, "start") as container:
            try:
                self._start(container)
            except RefusedError as error:
                if not self._network.heal(container, error):
                    raise
                self._start(container)

    def _start(self, container: str) -> None:
        with self._pool.client() as client:
            client.start(container)

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """End a container's processes; nothing happens to a stopped one.

        Args:
            sandbox_id: Which one.
            grace: How long its first process may take, in seconds; Docker counts whole ones.

        Raises:
            SandboxNotFoundError: It is not there.
        """
        with self.about(sandbox_id, "stop") as container:
            try:
                with self._pool.client() as client:
                    if grace > 0:
                        client.stop(container, timeout=math.ceil(grace))
                    else:
                        client.kill(container)
            except RefusedError as error:
                if error.status != 409:  # it does not run
                    raise

    def remove(self, sandbox_id: str) -> None:
        """End and remove a container, with the volumes that its image asked for; nothing happens if it is not there."""
        try:
            container = self.exact(sandbox_id)
        except SandboxNotFoundError:
            return
        try:
            with self._pool.client() as client:
                client.remove_container(container, force=True, v=True)
        except RefusedError as error:
            if error.status == 409:
                self._await_removal(container, error)
            elif not error.no_container:
                raise

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Return what Docker knows of a container, by its id or name.

        Raises:
            SandboxNotFoundError: There is none.
        """
        try:
            with self._pool.client() as client:
                status = inspected_status(client.inspect_container(sandbox_id))
        except RefusedError as error:
            if not error.no_container:
                raise
            raise sandboxes.not_found(self._engine, sandbox_id) from None
        # Docker also takes the beginning of an id, and a name may look like one.
        if sandbox_id not in {status.id, status.name}:
            raise sandboxes.not_found(self._engine, sandbox_id)
        return status

    def list(self) -> list[SandboxStatus]:
        """Return all containers that samebox made here."""
        with self._pool.client() as client:
            found = client.containers(all=True, quiet=True, filters={"label": [f"{MANAGED}=1"]})
        statuses = []
        for container in found:
            with contextlib.suppress(SandboxNotFoundError):  # removed meanwhile
                statuses.append(self.inspect(str(container["Id"])))
        return statuses

    def host_port(self, sandbox_id: str, port: str) -> HostPort:
        """Return where on the daemon's host a published port is.

        Raises:
            SandboxNotFoundError: The container is not there.
            EngineError: The port is not published, or the container does not run.
        """
        with self.about(sandbox_id, "inspect") as container, self._pool.client() as client:
            return published_port(client.inspect_container(container), sandbox_id, port)

    @contextlib.contextmanager
    def about(self, sandbox_id: str, verb: str) -> Iterator[str]:
        """Give a container's id to a `with`; see `samebox.engine.oci.sandboxes.about`."""
        with sandboxes.about(self._engine, verb, sandbox_id):
            yield self.exact(sandbox_id)

    def exact(self, sandbox_id: str) -> str:
        """Return a container's id for an id or a name; Docker would also take the beginning of another one's id.

        Raises:
            SandboxNotFoundError: There is none.
        """
        return sandbox_id if sandboxes.CONTAINER_ID.fullmatch(sandbox_id) else self.inspect(sandbox_id).id

    def unconnected(self, sandbox_id: str, words: str) -> SandboxError:
        """Return the error for a stream that could not be opened; see `samebox.engine.oci.sandboxes.unconnected`."""
        return sandboxes.unconnected(self._engine, sandbox_id, words, self.inspect)

    def _await_removal(self, container: str, error: RefusedError) -> None:
        """Wait for a removal that is under way elsewhere."""
        deadline = time.monotonic() + _REMOVAL
        while time.monotonic() < deadline:
            try:
                self.inspect(container)
            except SandboxNotFoundError:
                return
            time.sleep(0.05)
        raise error
