"""Containers: the containers of one Podman service, by their names and ids."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.engine.labels import MANAGED
from samebox.engine.oci import sandboxes
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import inspected_status, published_port, text_labels
from samebox.errors import EngineError, ImageNotFoundError, SandboxError, UnsupportedError
from samebox_podman.settings import inspected_ulimits
from samebox_podman.spec import HOSTS_TO_GIVE, differences
from samebox_podman.status import listed_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from samebox.config.ports import HostPort
    from samebox.engine import SandboxStatus
    from samebox_podman.client import PodmanClient

REMOVE_WITHIN = 10.0
"""How long Podman may refuse to remove a container, in seconds."""


class Containers:
    """Makes, starts, ends and finds containers; its methods raise what the engine's of the same name do.

    Args:
        client: The service.
    """

    def __init__(self, client: PodmanClient) -> None:
        self._client = client

    def create(self, spec: dict[str, Any]) -> str:
        """Create a container, check that Podman took every setting, and return its id; nothing is left of a failure.

        Args:
            spec: The request; see `samebox_podman.spec.container_spec`.

        Raises:
            SandboxExistsError: The name is taken.
            UnsupportedError: The service's host can't give what was asked for.
            EngineError: Podman refused, or did not take a setting.
        """
        name = spec["name"]
        try:
            answer = self._client.json("/containers/create", method="post", body=spec)
        except RefusedError as error:
            raise self._not_created(spec, error) from error
        except BaseException as error:
            # Nobody knows whether it was made: the answer did not come.
            with contextlib.suppress(SandboxError):
                found = self.found(name)
                if found["Config"].get("Labels") == spec["labels"]:
                    self.remove_after(error, str(found["Id"]), name)
            raise
        sandbox_id = str(answer["Id"])
        try:
            self._verify(spec, sandbox_id, answer.get("Warnings") or [])
        except BaseException as error:
            self.remove_after(error, sandbox_id, name)
            raise
        return sandbox_id

    def start(self, container: str) -> None:
        """Start a container; nothing happens to a running one."""
        with sandboxes.about(self._client.engine, "start", container):
            self._client.call("post", f"/containers/{container}/start")

    def stop(self, container: str, grace: float, timeout: float) -> None:
        """End a container's processes; nothing happens to a stopped one.

        Args:
            container: Its id.
            grace: How long its first process may take, in seconds; Podman counts whole ones.
            timeout: How long to wait for the answer beyond that, in seconds.
        """
        seconds = math.ceil(grace)
        with sandboxes.about(self._client.engine, "stop", container):
            try:
                self._client.call(
                    "post", f"/containers/{container}/stop", params={"timeout": seconds}, timeout=seconds + timeout
                )
            except RefusedError as error:
                if error.no_container or self.inspect(container).state == "running":
                    raise

    def remove_after(self, error: BaseException, sandbox_id: str, name: str) -> None:
        """Remove a container that has come to nothing; what fails then is a note of the error that was before."""
        try:
            remove_container(self._client, sandbox_id)
        except SandboxError as second:
            error.add_note(f"and sandbox {name!r} could not be removed: {second}")

    def give_name_back(self, container: str) -> None:
        """Give a container that is to be removed another name, so that nobody finds it stopped by its name.

        Podman lets go of a container's lock while it ends the container for a removal. Started by another process
        then, the container would run on after Podman has forgotten it.
        https://github.com/containers/podman/blob/v5.8.2/libpod/container_internal.go (stop)
        """
        with contextlib.suppress(RefusedError):
            self._client.call("post", f"/containers/{container}/rename", params={"name": f"removed-{container[:32]}"})

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Return what Podman knows of a container, by its id or name.

        Raises:
            SandboxNotFoundError: There is none.
        """
        return inspected_status(self.found(sandbox_id))

    def found(self, sandbox_id: str) -> dict[str, Any]:
        """Return the answer of inspect, by id or name.

        Raises:
            SandboxNotFoundError: There is none.
        """
        try:
            found: dict[str, Any] = self._client.json(f"/containers/{sandbox_id}/json")
        except RefusedError as error:
            if error.no_container:
                raise sandboxes.not_found(self._client.engine, sandbox_id) from None
            raise
        # Podman takes the beginning of an id as well.
        if sandbox_id not in {found["Id"], found["Name"]}:
            raise sandboxes.not_found(self._client.engine, sandbox_id)
        return found

    def list(self) -> list[SandboxStatus]:
        """Return all containers that samebox made here; Podman's list does not know of memory that ran out."""
        found = self._client.json("/containers/json", {"all": "true", "filters": f'{{"label":["{MANAGED}=1"]}}'})
        return [listed_status(each) for each in found or []]

    def host_port(self, sandbox_id: str, port: str) -> HostPort:
        """Return where on the service's host a published port is.

        Raises:
            SandboxNotFoundError: The container is not there.
            EngineError: The port is not published, or the container does not run.
        """
        return published_port(self.found(sandbox_id), sandbox_id, port)

    @contextlib.contextmanager
    def about(self, sandbox_id: str, verb: str) -> Iterator[str]:
        """Give a container's id to a `with`; see `samebox.engine.oci.sandboxes.about`."""
        with sandboxes.about(self._client.engine, verb, sandbox_id):
            yield self.exact(sandbox_id)

    def exact(self, sandbox_id: str) -> str:
        """Return a container's id for an id or a name.

        Raises:
            SandboxNotFoundError: There is none.
        """
        return sandbox_id if sandboxes.CONTAINER_ID.fullmatch(sandbox_id) else str(self.found(sandbox_id)["Id"])

    def unconnected(self, sandbox_id: str, words: str) -> SandboxError:
        """Return the error for a stream that could not be opened; see `samebox.engine.oci.sandboxes.unconnected`."""
        return sandboxes.unconnected(self._client.engine, sandbox_id, words, self.inspect)

    def label(self, sandbox_id: str, name: str) -> str | None:
        """Return a label of a container, or None.

        Raises:
            SandboxNotFoundError: The container is not there.
        """
        return text_labels(self.found(sandbox_id)["Config"]).get(name)

    def default_ulimits(self, image: str) -> Mapping[str, tuple[int, int]]:
        """Return the limits, soft and hard, of containers that ask for none; Podman tells of them in containers alone.

        Args:
            image: The id of any image, as a container has to have one.
        """
        spec = {"image": image, "entrypoint": ["/none"], "command": [], "netns": {"nsmode": "none"}}
        container = str(self._client.json("/containers/create", method="post", body=spec)["Id"])
        try:
            return inspected_ulimits(self._client.json(f"/containers/{container}/json"))
        finally:
            remove_container(self._client, container)

    def _not_created(self, spec: Mapping[str, Any], error: RefusedError) -> SandboxError:
        words = error.words.lower()
        if error.name_taken:
            return sandboxes.name_taken(self._client.engine, spec["name"])
        if "storage_opts" in spec and "storage" in words:
            return UnsupportedError(Capability.DISK_LIMIT, "podman", error.words)
        if "image not known" in words or "no such image" in words:
            return ImageNotFoundError(f"the image was removed from {self._client.engine} meanwhile: {error.words}")
        if "enough available ids" in words or "enough unused ids" in words:
            reason = (
                f"{error.words}; give the user that Podman takes them from (on a rootful one `containers`) more "
                "subordinate ids in /etc/subuid and /etc/subgid, or ask for fewer with auto:size=NUMBER"
            )
            return UnsupportedError(Capability.USERNS, "podman", reason)
        return sandboxes.refused(self._client.engine, "create", spec["name"], error.words)

    def _verify(self, spec: dict[str, Any], sandbox_id: str, warnings: Sequence[str]) -> None:
        """Raise unless the container is what was asked for: Podman ignores settings that its host can't give."""
        wrong = differences(spec, self._client.json(f"/containers/{sandbox_id}/json"))
        warned = f" It warned: {'; '.join(warnings)}." if warnings else ""
        for what in wrong.keys() & HOSTS_TO_GIVE.keys():
            raise UnsupportedError(HOSTS_TO_GIVE[what], "podman", f"its host can't give {wrong[what]}.{warned}")
        if wrong:
            raise EngineError(
                f"{self._client.engine} did not take what sandbox {spec['name']!r} was asked to be: "
                f"{'; '.join(wrong.values())}.{warned} Leave the setting out, or use another engine."
            )


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
