"""DockerEngine: sandboxes as containers of a Docker daemon."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Any, ClassVar

from samebox.capabilities import Capability, Isolation
from samebox.engine import Engine, EngineInfo, EngineOptions, SandboxStatus
from samebox.engine.bind_sources import check_sources
from samebox.engine.oci.made_images import note_use
from samebox.engine.oci.mounts import volume_names
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.volumes import unmake
from samebox.errors import ConfigError, SandboxNotFoundError
from samebox_docker.address import find_address
from samebox_docker.creation import Creation
from samebox_docker.host import engine_info, hides_tmpfs_modes, stronger
from samebox_docker.mounts import check_mounts
from samebox_docker.options import DockerOptions
from samebox_docker.privilege import no_privilege
from samebox_docker.settings import check_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from samebox.config.model import SandboxConfig
    from samebox.config.ports import HostPort
    from samebox.engine import ByteStream, ImageStatus, VolumeStatus
    from samebox_docker.daemon import Daemon


class DockerEngine(Engine):
    """Sandboxes are containers; the agent comes in a volume, and each connection is an exec of it.

    Args:
        options: See `DockerOptions`.

    Raises:
        ConfigError: An option is unknown or wrong.
    """

    name: ClassVar[str] = "docker"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {Capability.HOST_IMAGE}
    default_image: ClassVar[str | None] = "docker.io/library/busybox:latest"
    options_model: ClassVar[type[EngineOptions]] = DockerOptions
    options: DockerOptions

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self._found: tuple[int, Daemon] | None = None
        self._info: EngineInfo | None = None
        self._hides_modes = False
        self._stronger: list[str] = []
        self._made: dict[tuple[int, str], list[str]] = {}
        """Volumes that were made for what this object has created and not started, by process and id."""

    @property
    def _daemon(self) -> Daemon:
        found = self._found
        if found is None or found[0] != os.getpid():
            from samebox_docker.daemon import daemon_at  # noqa: PLC0415 - imports docker-py, which takes 85 ms

            address = find_address(self.options, os.environ)
            found = self._found = os.getpid(), daemon_at(address, self.options.timeout)
        return found[1]

    def probe(self) -> EngineInfo:
        """Reach the daemon and tell what it is; once for each engine object.

        Raises:
            EngineUnavailableError: It can't be reached; the text has the address, what was found and the remedy.
            ConfigError: It has no runtime of the name in the options.
        """
        if self._info is None:
            greeting, info = self._daemon.describe()
            self._hides_modes = hides_tmpfs_modes(info, self.options.runtime)
            self._stronger = stronger(self._daemon.address, info)
            found = engine_info(self._daemon.address, greeting, info, self.options.runtime)
            if not found.rootless and (reason := no_privilege(self._daemon.address)) is not None:
                found = dataclasses.replace(found, missing={**found.missing, Capability.PRIVILEGED: reason})
            self._info = found
        return self._info

    def stronger(self) -> Sequence[Mapping[str, Any]]:
        """Return the daemon's runtimes that make a stronger wall, as gVisor's; none where the options name one."""
        self.probe()
        return [] if self.options.runtime is not None else [{"runtime": name} for name in self._stronger]

    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Find the config's image on the daemon; else pull it, or bring it there from this host's files.

        Raises:
            ImageNotFoundError: It is not there and can't be had.
            ConfigError: No image is named, or Docker can't read the name.
        """
        check_settings(config)
        check_mounts(config)
        image = config.image or self.default_image
        if image is None or image == "host":
            raise ConfigError(
                f"wrong config: image = {image!r}: engine {self.name!r} needs the name of a container image, "
                "as 'debian:stable-slim', or tar:PATH or dir:PATH"
            )
        facts = self._daemon.images.ensure(image, config.pull, progress, config.platform)
        note_use(facts, image)
        return facts.id

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Create a container that has the agent, and whose workdir its user may write.

        Raises:
            SandboxExistsError: The name is taken.
            EngineError: Docker refused; nothing is left behind.
        """
        check_settings(config)
        check_mounts(config)
        info, daemon = self.probe(), self._daemon
        if daemon.address.scheme == "unix":
            check_sources(config)
        creation = Creation(daemon, info, config, daemon.images.facts(image), self.options.runtime)
        with daemon.volumes.made(volume_names(config)) as made:
            sandbox_id = creation.run(name, self.default_image, labels, hides_modes=self._hides_modes, fresh=made)
        if made:
            self._made[os.getpid(), sandbox_id] = made
        return sandbox_id

    def start(self, sandbox_id: str) -> None:
        """Start a container; nothing happens to a running one.

        Raises:
            SandboxNotFoundError: It is not there.
            EngineError: It can't be started; the text has Docker's words.
        """
        container = self._daemon.containers.exact(sandbox_id)
        self._daemon.containers.start(container)
        self._made.pop((os.getpid(), container), None)

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """End a container's processes; nothing happens to a stopped one.

        Args:
            sandbox_id: Which one.
            grace: How long its first process may take, in seconds; Docker counts whole ones.

        Raises:
            SandboxNotFoundError: It is not there.
        """
        self._daemon.containers.stop(sandbox_id, grace)

    def remove(self, sandbox_id: str) -> None:
        """End and remove a container, with the volumes that its image asked for; nothing happens if it is not there.

        Named volumes that were made for a container which was never started are removed as well.
        """
        with contextlib.suppress(SandboxNotFoundError):
            container = self._daemon.containers.exact(sandbox_id)
            self._daemon.containers.remove(container)
            unmake(self._made.pop((os.getpid(), container), ()), self._daemon.volumes.remove)

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Return what Docker knows of a container, by its id or name.

        Raises:
            SandboxNotFoundError: There is none.
        """
        return self._daemon.containers.inspect(sandbox_id)

    def list(self) -> list[SandboxStatus]:
        """Return all containers that samebox made here."""
        return self._daemon.containers.list()

    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:
        """Start an agent in a running container and return the stream to it.

        What Docker only says after the connection stands, as that the agent can't be executed, is in the stream's
        `diagnostics`.

        Args:
            sandbox_id: Which one.
            user: Who the agent runs as; None: the sandbox's own user.

        Raises:
            SandboxGoneError: The container does not run any more.
            EngineError: Docker refused.
        """
        from samebox_docker.streams import open_exec  # noqa: PLC0415

        try:
            watched = self.probe().isolation > Isolation.ROOTLESS
            return open_exec(self._daemon.pool, self._daemon.containers.exact(sandbox_id), user, watched=watched)
        except (SandboxNotFoundError, RefusedError) as error:
            words = error.words if isinstance(error, RefusedError) else str(error)
            raise self._daemon.containers.unconnected(sandbox_id, words) from None

    def build_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Build the config's image on the daemon, once for each content, and return its id.

        Raises:
            BuildError: A step failed; the text has the step and the last lines of its log.
            ImageNotFoundError: An image that it begins with is not there and can't be had.
            ConfigError: Something of the context can't be read.
        """
        check_settings(config)
        check_mounts(config)
        image = self._daemon.builder.build(config, progress)
        note_use(self._daemon.images.facts(image))
        return image

    def commit(self, sandbox_id: str, image: str) -> str:
        """Keep the state of a container's files as an image, without what is in volumes and in memory.

        Raises:
            SandboxNotFoundError: The container is not there.
            EngineError: Docker refused.
        """
        from samebox_docker.snapshot import commit  # noqa: PLC0415 - it needs docker-py

        pause = Capability.PIDS_LIMIT not in self.probe().missing  # as without cgroups nothing can be paused
        with self._daemon.containers.about(sandbox_id, "commit") as container:
            return commit(self._daemon.pool, self._daemon.made_images, container, image, pause=pause)

    def images(self) -> Sequence[ImageStatus]:
        """Return the images that samebox made on the daemon."""
        return self._daemon.made_images.list()

    def remove_image(self, name: str) -> None:
        """Remove an image that samebox made, with all of its names.

        Raises:
            ImageNotFoundError: It is not there.
            EngineError: A container has it, or samebox did not make it.
        """
        self._daemon.made_images.remove(name)

    def host_port(self, sandbox_id: str, port: str) -> HostPort:
        """Return where on the daemon's host a published port is.

        Raises:
            SandboxNotFoundError: The container is not there.
            EngineError: The port is not published, or the container does not run.
        """
        return self._daemon.containers.host_port(sandbox_id, port)

    def exposure(self, sandbox_id: str) -> str | None:
        """Have a second container try to reach a running sandbox, once for each daemon; see `Engine.exposure`.

        Raises:
            SandboxNotFoundError: The container is not there.
            EngineError: Docker refused.
        """
        with self._daemon.containers.about(sandbox_id, "inspect") as container:
            return self._daemon.network.exposure(container)

    def prune(self) -> Sequence[str]:
        """Remove the network of sandboxes if no container has it; see `Engine.prune`."""
        return [f"network {name}" for name in self._daemon.network.prune()]

    def volumes(self) -> Sequence[VolumeStatus]:
        """Return the named volumes that samebox made on the daemon."""
        return self._daemon.volumes.list()

    def remove_volume(self, name: str) -> None:
        """Remove a named volume; nothing happens if it is not there.

        Raises:
            EngineError: It is in use, or samebox did not make it.
        """
        self._daemon.volumes.remove(name)

    def heal_agent(self) -> bool:
        """Compare the volumes in use with the agents of this installation; deliver anew what differs."""
        return self._daemon.agent.heal()

    def close(self) -> None:
        """Close idle connections."""
        if self._found is not None and self._found[0] == os.getpid():
            self._found[1].pool.close()
