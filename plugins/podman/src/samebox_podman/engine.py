"""PodmanEngine: sandboxes as containers of Podman, rootless or rootful."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, ClassVar

from samebox.capabilities import Capability, Isolation
from samebox.engine import Engine, EngineInfo, SandboxStatus
from samebox.engine.bind_sources import check_sources
from samebox.engine.labels import MANAGED
from samebox.engine.oci.agent_volume import AgentVolumes, check_volume_names, delivered_agent, volume_name
from samebox.engine.oci.default_profile import writes_last
from samebox.engine.oci.local_images import local_image
from samebox.engine.oci.made_images import MadeImages, note_use
from samebox.engine.oci.mounts import volume_names
from samebox.engine.oci.platforms import check_runnable
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.seccomp import check_profile
from samebox.engine.oci.settings import check_disk
from samebox.engine.oci.status import image_label
from samebox.engine.oci.volumes import unmake
from samebox.errors import EngineError, ImageNotFoundError, IsolationError, SandboxNotFoundError
from samebox_podman import discovery
from samebox_podman.agent_volume import PROFILES, AgentVolume
from samebox_podman.attachments import Attachments
from samebox_podman.client import PodmanClient
from samebox_podman.containers import Containers, remove_container
from samebox_podman.directories import SandboxDirectories
from samebox_podman.host import PodmanHost, host_at, probe_host, stronger
from samebox_podman.images import find_image, inspect_image
from samebox_podman.local_images import LocalImages
from samebox_podman.network import LABEL as NETWORK, Networks
from samebox_podman.options import PodmanOptions
from samebox_podman.seccomp import delivered
from samebox_podman.settings import check_settings
from samebox_podman.spec import container_spec
from samebox_podman.stream import exec_request, open_exec
from samebox_podman.volumes import Volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from samebox.config.model import SandboxConfig
    from samebox.config.ports import HostPort
    from samebox.engine import ImageStatus, VolumeStatus
    from samebox.engine.oci.image_facts import ImageFacts
    from samebox.engine.program import AgentProgram
    from samebox.engine.streams import MultiplexedStream


class PodmanEngine(Engine):
    """Sandboxes as containers of Podman; see `samebox_podman.discovery` for which service is used."""

    name: ClassVar[str] = "podman"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {Capability.HOST_IMAGE}
    default_image: ClassVar[str | None] = "docker.io/library/busybox:latest"
    options_model: ClassVar[type[PodmanOptions]] = PodmanOptions
    options: PodmanOptions

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self._found: tuple[int, PodmanClient] | None = None
        self._agents = AgentVolumes()
        self._attachments = Attachments()
        self._made: dict[tuple[int, str], list[str]] = {}
        """Volumes that were made for what this object has created and not started, by process and id."""
        self._joined: dict[tuple[int, str], str | None] = {}
        """The network that each sandbox of this object has to itself, if any, by process and id."""

    @property
    def client(self) -> PodmanClient:
        """The service, found on first use; found anew after a fork, as a private one belongs to the parent."""
        found, pid = self._found, os.getpid()
        if found is None or found[0] != pid:
            address = discovery.find_service(self.options, os.environ, discovery.current_uid())
            found = self._found = (pid, PodmanClient(address, self.options.timeout, self.options.runtime))
        return found[1]

    @property
    def _containers(self) -> Containers:
        return Containers(self.client)

    @property
    def _volumes(self) -> Volumes:
        return Volumes(self.client)

    @property
    def _local_images(self) -> LocalImages:
        return LocalImages(self.client, self._host.machine)

    @property
    def _made_images(self) -> MadeImages:
        return MadeImages(self._local_images, local=True)

    @property
    def _networks(self) -> Networks:
        return Networks(self.client)

    @property
    def _host(self) -> PodmanHost:
        return host_at(self.client.address.url)

    def probe(self) -> EngineInfo:
        """Reach the service and tell what it is; see `samebox.engine.Engine.probe`."""
        options = self.options
        return probe_host(self.client, self.capabilities, rootless=options.rootless, runtime=options.runtime)

    def stronger(self) -> Sequence[Mapping[str, Any]]:
        """Return the service's runtimes that make a stronger wall, as gVisor's; none where the options name one."""
        if self.options.runtime is not None:
            return []
        self.probe()
        return [{"runtime": name} for name in stronger(self.client)]

    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Return the id of the config's image, fetching or importing it if needed; see `Engine.ensure_image`."""
        self._check(config)
        reference = config.image or self.default_image or ""
        facts = local_image(self._local_images, reference, progress)
        if facts is None:
            facts = find_image(self.client, reference, config.pull, progress, config.platform)
        facts.check_platform(reference, config.platform)
        self._host.images[facts.id] = facts
        note_use(facts, reference)
        return facts.id

    def build_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Build the config's image on the service, once for each content; see `Engine.build_image`."""
        from samebox_podman.build import PodmanBuilder  # noqa: PLC0415 - for builds alone

        self._check(config)
        image = PodmanBuilder(self.client, self._host.version).build(config, progress)
        note_use(self._facts(image))
        return image

    def commit(self, sandbox_id: str, image: str) -> str:
        """Keep the state of a sandbox's files as an image; see `Engine.commit`.

        What is in volumes and in memory is not part of it.
        """
        from samebox_podman.snapshot import commit  # noqa: PLC0415 - for snapshots alone

        pause = Capability.PIDS_LIMIT not in self.probe().missing  # as without cgroups nothing can be paused
        with self._containers.about(sandbox_id, "commit") as container:
            return commit(self.client, self._made_images, container, image, pause=pause)

    def images(self) -> Sequence[ImageStatus]:
        """Return the images that samebox made on the service; see `samebox.engine.Engine.images`."""
        return self._made_images.list()

    def remove_image(self, name: str) -> None:
        """Remove an image that samebox made; see `samebox.engine.Engine.remove_image`."""
        self._made_images.remove(name)

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Create a sandbox, check that Podman took every setting, deliver the agent and make the workdir.

        See `samebox.engine.Engine.create`.
        """
        self._check(config)
        facts = self._facts(image)
        check_disk(config, facts.volumes)
        with (
            self._volumes.made(volume_names(config)) as made,
            delivered(self.client, facts.id, config) as seccomp,
            self._networks.made(wanted=config.network is True and not self._host.rootless) as network,
        ):
            if network is not None:
                labels = {**labels, NETWORK: network}
            sandbox_id = self._create_with(config, facts, name, labels, seccomp)
        self._joined[os.getpid(), sandbox_id] = network
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
        info = self.probe()
        agent = delivered_agent(facts.architecture or None, info.isolation)
        # First: a container that names a volume makes it, without the label and options that this one needs.
        volume = self._deliver(agent, facts.id)
        check_runnable(
            agent.machine,
            facts.platform,
            engine="podman",
            where=self.client.engine,
            host=self._host.machine,
            known=self._host.runs,
            attempt=lambda: AgentVolume(self.client).attempt(agent, facts.id),
        )
        if not seccomp and not config.privileged and Capability.SECCOMP not in info.missing:
            profile = PROFILES[writes_last(config)]
            seccomp = {"seccomp_profile_path": f"{self._host.whole_agents[volume]}/{profile}"}
        runtime = self._host.runtime_name(self.options.runtime) if self.options.runtime is not None else None
        directories = SandboxDirectories(self.client, self._host, facts, config)
        ulimits = self._default_ulimits(facts.id) if config.ulimits and not info.rootless else {}
        while True:
            plan = directories.plan()
            spec = container_spec(
                config,
                image=facts.id,
                name=name,
                labels={**image_label(config, self.default_image, facts.id), **labels},
                agent_volume=volume,
                plan=plan,
                missing=info.missing,
                runtime=runtime,
                seccomp=seccomp,
                default_ulimits=ulimits,
            )
            # What Podman itself puts into the environment; HOSTNAME is also that of the sandbox an image was made of.
            unwanted = {"container", "TERM"} - facts.variables
            spec["unsetenv"] = sorted(unwanted | ({"HOSTNAME"} if MANAGED in facts.labels else set()))
            try:
                sandbox_id = self._containers.create(spec)
            except EngineError as error:
                # A prune or a full disk took the profile's file, which Podman reads before all else.
                if "seccomp" in str(error) and self.heal_agent():
                    continue
                if runtime is not None and "OCI runtime" in str(error) and "is not available" in str(error):
                    # Only a creation tells whether a runtime of a service elsewhere is there.
                    tier = Isolation.ROOTLESS if info.rootless else Isolation.CONTAINER
                    raise IsolationError(str(error), tier) from None
                raise
            try:
                self._prove(agent, sandbox_id)
                if directories.learnt(sandbox_id, plan) and directories.plan() != plan:
                    remove_container(self.client, sandbox_id)
                    continue
                directories.put(sandbox_id, plan, spec, runtime)
            except BaseException as error:
                self._containers.remove_after(error, sandbox_id, name)
                raise
            self._attachments.expect(sandbox_id)
            return sandbox_id

    def _check(self, config: SandboxConfig) -> None:
        if self._host.info is None or self.options.runtime is not None:
            self.probe()  # which refuses a runtime that the service would ignore
        check_settings(config, rootless=self._host.rootless)
        check_volume_names(config)
        check_profile(config.security_opt)
        if self.client.address.scheme == "unix":
            check_sources(config)

    def _default_ulimits(self, image: str) -> Mapping[str, tuple[int, int]]:
        if self._host.ulimits is None:
            self._host.ulimits = self._containers.default_ulimits(image)
        return self._host.ulimits

    def _facts(self, image: str) -> ImageFacts:
        known = self._host.images.get(image)
        if known is None:
            known = inspect_image(self.client, image)
            if known is None:
                raise ImageNotFoundError(f"the image {image} was removed from {self.client.engine} meanwhile")
            self._host.images[known.id] = known
        return known

    def _deliver(self, agent: AgentProgram, image: str) -> str:
        store, name, whole = AgentVolume(self.client), volume_name(agent), self._host.whole_agents
        self._agents.ensure(store, agent, image, lambda: name in whole or store.settled(agent))
        if name not in whole:
            whole[name] = store.directory(agent)
        return name

    def _prove(self, agent: AgentProgram, sandbox_id: str) -> None:
        """Compare the agent that a sandbox has with this installation's, once for each service; heal what differs."""
        proven, name = self._host.proven_agents, volume_name(agent)
        if name not in proven:
            store = AgentVolume(self.client)
            if store.held(sandbox_id, agent) != agent.data:
                self._agents.heal(store)
            proven.add(name)

    def start(self, sandbox_id: str) -> None:
        """Start a sandbox; see `samebox.engine.Engine.start`."""
        container = self._containers.exact(sandbox_id)
        self._attachments.attach(self.client, container, self.options.timeout)
        try:
            self._containers.start(container)
        except BaseException:
            self._attachments.drop(container)
            raise
        self._made.pop((os.getpid(), container), None)

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """End a sandbox's processes; see `samebox.engine.Engine.stop`."""
        container = self._containers.exact(sandbox_id)
        self._attachments.drop(container)
        self._containers.stop(container, grace, self.options.timeout)

    def remove(self, sandbox_id: str) -> None:
        """End and remove a sandbox with the volumes of its image; see `samebox.engine.Engine.remove`."""
        with contextlib.suppress(SandboxNotFoundError):
            container = self._containers.exact(sandbox_id)
            self._attachments.drop(container)
            own = os.getpid(), container
            network = self._joined.pop(own) if own in self._joined else self._containers.label(container, NETWORK)
            self._containers.give_name_back(container)
            remove_container(self.client, container)
            self._networks.remove(network)
            unmake(self._made.pop((os.getpid(), container), ()), self._volumes.remove)

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Return what is known of a sandbox, by id or name; see `samebox.engine.Engine.inspect`."""
        return self._containers.inspect(sandbox_id)

    def list(self) -> list[SandboxStatus]:
        """Return the sandboxes that samebox made here; see `samebox.engine.Engine.list`.

        `out_of_memory` is told by `inspect` alone, as Podman's list does not know it.
        """
        return self._containers.list()

    def connect(self, sandbox_id: str, user: str | None = None) -> MultiplexedStream:
        """Open a stream to an `agent serve`; see `samebox.engine.Engine.connect`.

        The first one to a sandbox that this object made is that to the agent on the first process's stdin and stdout,
        attached to at the start in 1 ms; each further one is an exec, which takes 90 ms.
        """
        try:
            container = self._containers.exact(sandbox_id)
            if user is None and (stream := self._attachments.take(container)) is not None:
                return stream
            body = exec_request(user)
            exec_id = str(self.client.json(f"/containers/{container}/exec", method="post", body=body)["Id"])
            return open_exec(self.client, exec_id, self.options.timeout)
        except (SandboxNotFoundError, RefusedError) as error:
            words = error.words if isinstance(error, RefusedError) else str(error)
            raise self._containers.unconnected(sandbox_id, words) from error

    def host_port(self, sandbox_id: str, port: str) -> HostPort:
        """Return where on the service's host a published port is; see `samebox.engine.Engine.host_port`."""
        return self._containers.host_port(sandbox_id, port)

    def exposure(self, sandbox_id: str) -> str | None:
        """Have a second container try to reach a running sandbox, once for each service; see `Engine.exposure`."""
        if self._host.rootless:
            return None
        if self._host.exposure is None:
            self._host.exposure = self._networks.exposure(self._containers.found(sandbox_id)) or ""
        return self._host.exposure or None

    def prune(self) -> Sequence[str]:
        """Remove networks of sandboxes that are gone; see `Engine.prune`."""
        return [f"network {name}" for name in self._networks.prune()]

    def volumes(self) -> Sequence[VolumeStatus]:
        """Return the named volumes that samebox made on the service; see `samebox.engine.Engine.volumes`."""
        return self._volumes.list()

    def remove_volume(self, name: str) -> None:
        """Remove a named volume; see `samebox.engine.Engine.remove_volume`."""
        self._volumes.remove(name)

    def heal_agent(self) -> bool:
        """Read back the agents that were delivered, and deliver anew what differs; see `Engine.heal_agent`."""
        return self._agents.heal(AgentVolume(self.client))

    def close(self) -> None:
        """Close connections that nothing uses; a private service lives on for this process's other engines."""
        self._attachments.close()
        if self._found is not None and self._found[0] == os.getpid():
            self._found[1].close()
