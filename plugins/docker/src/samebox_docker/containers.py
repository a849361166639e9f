"""Containers: the containers of one daemon by their names and ids."""

from __future__ import annotations

import contextlib
import math
import re
import time
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.config.ports import HostPort
from samebox.engine.ending import describe_end
from samebox.errors import (
    EngineError,
    EngineUnavailableError,
    ImageNotFoundError,
    SandboxExistsError,
    SandboxGoneError,
    SandboxNotFoundError,
    UnsupportedError,
)
from samebox_docker.failure import RefusedError
from samebox_docker.status import status_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.engine import SandboxStatus
    from samebox_docker.clients import ClientPool

_ID = re.compile("[0-9a-f]{64}")
_MANAGED = "samebox.managed=1"
_REMOVAL = 30.0
"""How long to wait for a removal that someone else has begun, in seconds."""


class Containers:
    """Makes, starts, ends and finds containers; its methods raise what the engine's of the same name do.

    Args:
        pool: The daemon's clients.
    """

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self._url = pool.address.url

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
        url = self._url
        try:
            with self._pool.client() as client:
                return str(client.create_container_from_config(body, name)["Id"])
        except RefusedError as error:
            if error.status == 409:
                raise SandboxExistsError(
                    f"a container named {name!r} is already on Docker at {url}; "
                    "attach to it, remove it or choose another name"
                ) from None
            if error.status == 404:
                raise ImageNotFoundError(
                    f"the image was removed from Docker at {url} meanwhile: {error.words}"
                ) from None
            if "storage-opt" in error.words:
                raise UnsupportedError(Capability.DISK_LIMIT, "docker", error.words) from None
            raise EngineError(f"Docker at {url} could not create the sandbox {name!r}: {error.words}") from None
        except EngineUnavailableError:
            # The answer was lost, so it may have been created all the same.
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
        with self.about(sandbox_id, "start") as container, self._pool.client() as client:
            client.start(container)

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """End a container's processes; nothing happens to a stopped one.

        Args:
            sandbox_id: Which one.
            grace: How long its first process may take, in seconds; Docker counts whole ones.

        Raises:
            SandboxNotFoundError: It is not there.
        """
        with self.about(sandbox_id, "stop", harmless=409) as container, self._pool.client() as client:
            if grace > 0:
                client.stop(container, timeout=math.ceil(grace))
            else:
                client.kill(container)

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
                status = status_of(client.inspect_container(sandbox_id))
        except RefusedError as error:
            if not error.no_container:
                raise
            raise self._not_found(sandbox_id) from None
        # Docker also takes the beginning of an id, and a name may look like one.
        if sandbox_id not in {status.id, status.name}:
            raise self._not_found(sandbox_id)
        return status

    def list(self) -> list[SandboxStatus]:
        """Return all containers that samebox made here."""
        with self._pool.client() as client:
            found = client.containers(all=True, quiet=True, filters={"label": [_MANAGED]})
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
            ports = (client.inspect_container(container).get("NetworkSettings") or {}).get("Ports") or {}
        for where in ports.get(port) or ():
            return HostPort(address=str(where["HostIp"]), port=int(where["HostPort"]))
        published = ", ".join(sorted(each for each, where in ports.items() if where)) or "none"
        msg = f"port {port} of the sandbox {sandbox_id!r} is not published; published are: {published}"
        raise EngineError(msg)

    @contextlib.contextmanager
    def about(self, sandbox_id: str, verb: str, *, harmless: int = 0) -> Iterator[str]:
        """Give a container's id to a `with`, in which what Docker refuses becomes an error that names the sandbox.

        Args:
            sandbox_id: The id or name.
            verb: What is tried, for the error.
            harmless: The status of a refusal that is none.

        Raises:
            SandboxNotFoundError: It is not there.
            EngineError: Docker refused.
        """
        try:
            yield self.exact(sandbox_id)
        except RefusedError as error:
            if error.no_container:
                raise self._not_found(sandbox_id) from None
            if error.status != harmless:
                url = self._url
                raise EngineError(
                    f"Docker at {url} could not {verb} the sandbox {sandbox_id!r}: {error.words}"
                ) from None

    def exact(self, sandbox_id: str) -> str:
        """Return a container's id for an id or a name; Docker would also take the beginning of another one's id.

        Raises:
            SandboxNotFoundError: There is none.
        """
        return sandbox_id if _ID.fullmatch(sandbox_id) else self.inspect(sandbox_id).id

    def unconnected(self, sandbox_id: str, error: RefusedError) -> EngineError | SandboxGoneError:
        """Return the error for a stream that could not be opened: the sandbox is gone, or Docker has another reason."""
        url = self._url
        try:
            status = self.inspect(sandbox_id)
        except SandboxNotFoundError:
            return SandboxGoneError(f"the sandbox {sandbox_id!r} is gone from Docker at {url}")
        if status.state == "running":
            return EngineError(
                f"Docker at {url} could not open a stream into the sandbox {status.name!r}: {error.words}"
            )
        how = "it was never started" if status.state == "created" else describe_end(status)
        return SandboxGoneError(f"the sandbox {status.name!r} on Docker at {url} is gone: {how}")

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

    def _not_found(self, sandbox_id: str) -> SandboxNotFoundError:
        return SandboxNotFoundError(f"there is no sandbox {sandbox_id!r} on Docker at {self._url}")
