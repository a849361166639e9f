"""PodmanEngine: sandboxes as containers of Podman, rootless or rootful."""

from __future__ import annotations

import contextlib
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from samebox.capabilities import Capability
from samebox.config.ports import HostPort
from samebox.engine import Engine, EngineInfo, SandboxStatus
from samebox.engine.program import AgentProgram, agent_program
from samebox.errors import (
    EngineError,
    SandboxError,
    SandboxExistsError,
    SandboxGoneError,
    SandboxNotFoundError,
    UnsupportedError,
)
from samebox_podman import discovery
from samebox_podman.agent_volume import AgentVolume, remove_container
from samebox_podman.archives import archive_image, directory_image
from samebox_podman.client import PodmanClient
from samebox_podman.directories import SandboxDirectories
from samebox_podman.failure import RefusedError
from samebox_podman.host import PodmanHost, host_at, probe_host
from samebox_podman.images import ImageFacts, find_image, inspect_image
from samebox_podman.mounts import check_mounts, volume_names
from samebox_podman.options import PodmanOptions
from samebox_podman.platforms import check_runnable
from samebox_podman.seccomp import delivered, seccomp_profile
from samebox_podman.settings import check_settings, inspected_ulimits
from samebox_podman.spec import HOSTS_TO_GIVE, container_spec, differences
from samebox_podman.status import IMAGE_LABEL, inspected_status, listed_status
from samebox_podman.stream import AttachedStream, exec_request, open_attached, open_exec
from samebox_podman.volumes import Volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from samebox.config.model import SandboxConfig
    from samebox.engine import VolumeStatus
    from samebox.engine.streams import MultiplexedStream

_ID = re.compile(r"[0-9a-f]{64}")


class PodmanEngine(Engine):
    """Sandboxes as containers of Podman; see `samebox_podman.discovery` for which service is used."""

    name: ClassVar[str] = "podman"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.APPARMOR,
            Capability.ARCHIVE_IMAGE,
            Capability.BIND_MOUNTS,
            Capability.BUILD,
            Capability.CAP_ADD,
            Capability.CAP_DROP,
            Capability.CONTAINER_IMAGE,
            Capability.CPU_LIMIT,
            Capability.DEVICES,
            Capability.DIRECTORY_IMAGE,
            Capability.DISK_LIMIT,
            Capability.DNS,
            Capability.EXEC_USER,
            Capability.GPUS,
            Capability.HOSTNAME,
            Capability.MEMORY_LIMIT,
            Capability.NETWORK,
            Capability.NETWORK_NAMED,
            Capability.NETWORK_NONE,
            Capability.NO_NEW_PRIVILEGES,
            Capability.PERSISTENT,
            Capability.PIDS_LIMIT,
            Capability.PLATFORM,
            Capability.PORTS,
            Capability.PRIVILEGED,
            Capability.PROCESS_ISOLATION,
            Capability.PULL,
            Capability.READ_ONLY_ROOT,
            Capability.ROOT_FILESYSTEM,
            Capability.SECCOMP,
            Capability.SECCOMP_PROFILE,
            Capability.SELINUX,
            Capability.SHM_SIZE,
            Capability.SWAP_LIMIT,
            Capability.SNAPSHOT,
            Capability.TMPFS,
            Capability.ULIMITS,
            Capability.USER,
            Capability.USERNS,
            Capability.VOLUMES,
        }
    )
    default_image: ClassVar[str | None] = "docker.io/library/busybox:latest"
    options_model: ClassVar[type[PodmanOptions]] = PodmanOptions
    options: PodmanOptions

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self._found: tuple[int, PodmanClient] | None = None
        self._delivered: dict[str, str] = {}
        """Machines that an agent was delivered for, each with an image that a container can be made of."""
        self._attached: dict[tuple[int, str], AttachedStream | None] = {}
        """What this object has created and not connected to, by process and id: None before its start, then the stream
        to its first agent. A forked child has no part in its parent's."""
        self._made: dict[tuple[int, str], list[str]] = {}
        """Volumes that were made for what this object has created and not started, by process and id."""

    @property
    def client(self) -> PodmanClient:
        """The service, found on first use; found anew after a fork, as a private one belongs to the parent."""
        found, pid = self._found, os.getpid()
        if found is None or found[0] != pid:
            address = discovery.find_service(self.options, os.environ, discovery.current_uid())
            found = self._found = (pid, PodmanClient(address, self.options.timeout))
        return found[1]

    @property
    def _volumes(self) -> Volumes:
        return Volumes(self.client)

    @property
    def _host(self) -> PodmanHost:
        return host_at(self.client.address.url)

    def probe(self) -> EngineInfo:
        """Reach the service and tell what it is; see `samebox.engine.Engine.probe`."""
        return probe_host(self.client, self.capabilities, rootless=self.options.rootless)

    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Return the id of the config's image, fetching or importing it if needed; see `Engine.ensure_image`."""
        self._check(config)
        reference = config.image or self.default_image or ""
        kind, _, path = reference.partition(":")
        if kind == "tar":
            facts = archive_image(self.client, Path(path).expanduser(), progress)
        elif kind == "dir":
            facts = directory_image(self.client, Path(path).expanduser(), progress)
        else:
            facts = find_image(self.client, reference, config.pull, progress, config.platform)
        facts.check_platform(reference, config.platform)
        self._host.images[facts.id] = facts
        return facts.id

    def build_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Build the config's image on the service, once for each content; see `Engine.build_image`."""
        from samebox_podman.build import PodmanBuilder  # noqa: PLC0415 - for builds alone

        self._check(config)
        return PodmanBuilder(self.client).build(config, progress)

    def commit(self, sandbox_id: str, image: str) -> str:
        """Keep the state of a sandbox's files as an image; see `Engine.commit`.

        What is in volumes and in memory is not part of it.
        """
        from samebox_podman.snapshot import commit  # noqa: PLC0415 - for snapshots alone

        pause = Capability.PIDS_LIMIT not in self.probe().missing  # as without cgroups nothing can be paused
        container = self._id(sandbox_id)
        try:
            return commit(self.client, container, image, pause=pause)
        except RefusedError as error:
            self._raise_missing(error, sandbox_id)
            raise

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Create a sandbox, check that Podman took every setting, deliver the agent and make the workdir.

        See `samebox.engine.Engine.create`.
        """
        self._check(config)
        facts = self._facts(image)
        with (
            self._volumes.made(volume_names(config)) as made,
            delivered(self.client, facts.id, config) as seccomp,
        ):
            sandbox_id = self._create_with(config, facts, name, labels, seccomp)
        if made:
            self._made[os.getpid(), sandbox_id] = made
        return sandbox_id

    def _create_with(
        self,
        config: SandboxConfig,
        facts: ImageFacts,
        name: str,
        labels: Mapping[str, str],
        seccomp: Mapping[str, Any],
    ) -> str:
        named = config.image or (None if config.build is not None else self.default_image)
        agent = agent_program(facts.architecture or None)
        info = self.probe()
        # First: a container that names a volume makes it, without the label and options that this one needs.
        volume = self._deliver(agent, facts.id)
        check_runnable(self.client, self._host, agent, volume, facts)
        directories = SandboxDirectories(self.client, self._host, facts, config)
        ulimits = self._default_ulimits(facts.id) if config.ulimits and not info.rootless else {}
        while True:
            plan = directories.plan()
            spec = container_spec(
                config,
                image=facts.id,
                name=name,
                labels={IMAGE_LABEL: named or facts.id, **labels},
                agent_volume=volume,
                plan=plan,
                missing=info.missing,
                runtime=self.options.runtime,
                seccomp=seccomp,
                default_ulimits=ulimits,
            )
            if facts.snapshot:
                spec["unsetenv"] = ["HOSTNAME"]
            sandbox_id = self._create(spec)
            try:
                if directories.learnt(sandbox_id, plan) and directories.plan() != plan:
                    remove_container(self.client, sandbox_id)
                    continue
                directories.put(sandbox_id, plan, spec, self.options.runtime)
            except BaseException as error:
                self._remove_after(error, sandbox_id, name)
                raise
            self._attached[os.getpid(), sandbox_id] = None
            return sandbox_id

    def _check(self, config: SandboxConfig) -> None:
        if self._host.info is None:
            self.probe()
        check_settings(config, rootless=self._host.rootless)
        check_mounts(config)
        seccomp_profile(config)

    def _default_ulimits(self, image: str) -> Mapping[str, tuple[int, int]]:
        """Return the limits of containers that ask for none; Podman tells of them in containers alone."""
        if self._host.ulimits is None:
            spec = {"image": image, "entrypoint": ["/none"], "command": [], "netns": {"nsmode": "none"}}
            container = str(self.client.call("post", "/containers/create", body=spec).json()["Id"])
            try:
                self._host.ulimits = inspected_ulimits(self.client.json(f"/containers/{container}/json"))
            finally:
                remove_container(self.client, container)
        return self._host.ulimits

    def _facts(self, image: str) -> ImageFacts:
        known = self._host.images.get(image)
        if known is None:
            known = inspect_image(self.client, image)
            if known is None:
                raise EngineError(
                    f"Podman at {self.client.address.url} has no image {image} any more; make the sandbox anew"
                )
            self._host.images[known.id] = known
        return known

    def _create(self, spec: dict[str, Any]) -> str:
        """Make the container and check it; nothing is left behind when this raises."""
        name = spec["name"]
        try:
            answer = self.client.call("post", "/containers/create", body=spec).json()
        except RefusedError as error:
            if error.name_taken:
                raise SandboxExistsError(
                    f"Podman at {self.client.address.url} has a container {name!r} already"
                ) from error
            if "storage_opts" in spec and "storage" in error.words.lower():
                raise UnsupportedError(Capability.DISK_LIMIT, self.name, error.words) from error
            if any(words in error.words.lower() for words in ("enough available ids", "enough unused ids")):
                reason = (
                    f"{error.words}; give the user that Podman takes them from (on a rootful one `containers`) more "
                    "subordinate ids in /etc/subuid and /etc/subgid, or ask for fewer with auto:size=NUMBER"
                )
                raise UnsupportedError(Capability.USERNS, self.name, reason) from error
            raise EngineError(f"sandbox {name!r} could not be created: {error}") from error
        except BaseException as error:
            # Nobody knows whether it was made: the answer did not come.
            with contextlib.suppress(SandboxError):
                found = self._inspect(name)
                if found["Config"].get("Labels") == spec["labels"]:
                    self._remove_after(error, str(found["Id"]), name)
            raise
        sandbox_id = str(answer["Id"])
        try:
            self._verify(spec, sandbox_id, answer.get("Warnings") or [])
        except BaseException as error:
            self._remove_after(error, sandbox_id, name)
            raise
        return sandbox_id

    def _verify(self, spec: dict[str, Any], sandbox_id: str, warnings: Sequence[str]) -> None:
        """Raise unless the container is what was asked for: Podman ignores settings that its host can't give."""
        wrong = differences(spec, self.client.json(f"/containers/{sandbox_id}/json"))
        warned = f" It warned: {'; '.join(warnings)}." if warnings else ""
        for what in wrong.keys() & HOSTS_TO_GIVE.keys():
            raise UnsupportedError(HOSTS_TO_GIVE[what], self.name, f"its host can't give {wrong[what]}.{warned}")
        if wrong:
            raise EngineError(
                f"Podman at {self.client.address.url} did not take what sandbox {spec['name']!r} was asked to be: "
                f"{'; '.join(wrong.values())}.{warned} Leave the setting out, or use another engine."
            )

    def _remove_after(self, error: BaseException, sandbox_id: str, name: str) -> None:
        try:
            remove_container(self.client, sandbox_id)
        except SandboxError as second:
            error.add_note(f"and sandbox {name!r} could not be removed: {second}")

    def _deliver(self, agent: AgentProgram, image: str) -> str:
        self._delivered[agent.machine] = image
        volume = AgentVolume(self.client, agent)
        if volume.name not in self._host.whole_agents:
            if not volume.settled():
                volume.fill(image)
            self._host.whole_agents.add(volume.name)
        return volume.name

    def start(self, sandbox_id: str) -> None:
        """Start a sandbox; see `samebox.engine.Engine.start`."""
        container = self._id(sandbox_id)
        first = (os.getpid(), container)
        if first in self._attached and self._attached[first] is None:
            # Before the start: to be attached to one that has just ended would make it ready to start again. Where that
            # fails, the start tells why.
            with contextlib.suppress(RefusedError):
                self._attached[first] = open_attached(self.client, container, self.options.timeout)
        try:
            self.client.call("post", f"/containers/{container}/start")
        except BaseException as error:
            self._detach(container)
            if isinstance(error, RefusedError):
                self._raise_missing(error, sandbox_id)
                raise EngineError(f"sandbox {sandbox_id[:12]} could not be started: {error}") from error
            raise
        self._made.pop(first, None)

    def _detach(self, container: str) -> None:
        stream = self._attached.pop((os.getpid(), container), None)
        if stream is not None:
            stream.close()

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """End a sandbox's processes; see `samebox.engine.Engine.stop`."""
        container = self._id(sandbox_id)
        seconds = math.ceil(grace)
        self._detach(container)
        try:
            params = {"timeout": seconds}
            self.client.call(
                "post", f"/containers/{container}/stop", params=params, timeout=seconds + self.options.timeout
            )
        except RefusedError as error:
            self._raise_missing(error, sandbox_id)
            if self.inspect(container).state == "running":
                raise EngineError(f"sandbox {sandbox_id[:12]} could not be stopped: {error}") from error

    def remove(self, sandbox_id: str) -> None:
        """End and remove a sandbox with the volumes of its image; see `samebox.engine.Engine.remove`."""
        with contextlib.suppress(SandboxNotFoundError):
            container = self._id(sandbox_id)
            self._detach(container)
            remove_container(self.client, container)
            self._volumes.unmake(self._made.pop((os.getpid(), container), ()))

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Return what is known of a sandbox, by id or name; see `samebox.engine.Engine.inspect`."""
        return inspected_status(self._inspect(sandbox_id))

    def _inspect(self, name_or_id: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.client.json(f"/containers/{name_or_id}/json")
        except RefusedError as error:
            self._raise_missing(error, name_or_id)
            raise
        # Podman takes the beginning of an id as well, so a name like `a1` could find somebody else's container.
        if name_or_id not in {found["Id"], found["Name"]}:
            raise self._not_found(name_or_id)
        return found

    def list(self) -> list[SandboxStatus]:
        """Return the sandboxes that samebox made here; see `samebox.engine.Engine.list`.

        `out_of_memory` is told by `inspect` alone, as Podman's list does not know it.
        """
        found = self.client.json("/containers/json", {"all": "true", "filters": '{"label":["samebox.managed=1"]}'})
        return [listed_status(each) for each in found or []]

    def connect(self, sandbox_id: str, user: str | None = None) -> MultiplexedStream:
        """Open a stream to an `agent serve`; see `samebox.engine.Engine.connect`.

        The first one to a sandbox that this object made is that to the agent on the first process's stdin and stdout,
        attached to at the start in 1 ms; each further one is an exec, which takes 90 ms.
        """
        try:
            container = self._id(sandbox_id)
            if user is None and (stream := self._attached.pop((os.getpid(), container), None)) is not None:
                return stream
            body = exec_request(user)
            exec_id = str(self.client.call("post", f"/containers/{container}/exec", body=body).json()["Id"])
            return open_exec(self.client, exec_id, self.options.timeout)
        except SandboxNotFoundError as missing:
            raise SandboxGoneError(f"sandbox {sandbox_id[:12]} on Podman is gone: it was removed") from missing
        except RefusedError as error:
            self._raise_gone(error, sandbox_id)
            raise EngineError(f"no agent could be started in sandbox {sandbox_id[:12]}: {error}") from error

    def _raise_gone(self, error: RefusedError, sandbox_id: str) -> None:
        if not error.no_container and not error.not_running:
            return
        try:
            status = self.inspect(sandbox_id)
        except SandboxNotFoundError as missing:
            raise SandboxGoneError(f"sandbox {sandbox_id[:12]} on Podman is gone: it was removed") from missing
        if status.state == "running":
            return
        memory = ", out of memory" if status.out_of_memory else ""
        code = "" if status.exit_code is None else f" (exit code {status.exit_code}{memory})"
        raise SandboxGoneError(f"sandbox {status.name!r} on Podman does not run: it is {status.state}{code}") from error

    def _id(self, sandbox_id: str) -> str:
        """Return the full id: anything shorter may be the beginning of somebody else's."""
        return sandbox_id if _ID.fullmatch(sandbox_id) else str(self._inspect(sandbox_id)["Id"])

    def _not_found(self, sandbox_id: str) -> SandboxNotFoundError:
        return SandboxNotFoundError(f"Podman at {self.client.address.url} has no container {sandbox_id!r}")

    def _raise_missing(self, error: RefusedError, sandbox_id: str) -> None:
        if error.no_container:
            raise self._not_found(sandbox_id) from error

    def host_port(self, sandbox_id: str, port: str) -> HostPort:
        """Return where on the service's host a published port is; see `samebox.engine.Engine.host_port`."""
        found = self._inspect(sandbox_id)
        ports = found["HostConfig"].get("PortBindings") or {}
        for where in ports.get(port) or ():
            if found["State"]["Status"] != "running":
                raise EngineError(f"port {port} of the sandbox {sandbox_id!r} is not open: the sandbox does not run")
            return HostPort(address=where["HostIp"], port=int(where["HostPort"]))
        published = ", ".join(sorted(ports)) or "none"
        raise EngineError(f"port {port} of the sandbox {sandbox_id!r} is not published; published are: {published}")

    def volumes(self) -> Sequence[VolumeStatus]:
        """Return the named volumes that samebox made on the service; see `samebox.engine.Engine.volumes`."""
        return self._volumes.list()

    def remove_volume(self, name: str) -> None:
        """Remove a named volume; see `samebox.engine.Engine.remove_volume`."""
        self._volumes.remove(name)

    def heal_agent(self) -> bool:
        """Read back the agents that were delivered, and deliver anew what differs; see `Engine.heal_agent`."""
        healed = False
        for machine, image in self._delivered.items():
            healed = AgentVolume(self.client, agent_program(machine)).fill(image) or healed
        return healed

    def close(self) -> None:
        """Close connections that nothing uses; a private service lives on for this process's other engines."""
        for pid, container in list(self._attached):
            if pid == os.getpid():
                self._detach(container)
        if self._found is not None and self._found[0] == os.getpid():
            self._found[1].close()
