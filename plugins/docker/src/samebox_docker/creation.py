"""Creation: the making of one sandbox on a daemon, a container with the agent whose workdir its user may write."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability, Isolation
from samebox.engine.mistakes import no_workdir
from samebox.engine.oci.agent_volume import delivered_agent
from samebox.engine.oci.platforms import check_runnable
from samebox.engine.oci.settings import check_disk
from samebox.engine.oci.status import image_label
from samebox.errors import EngineError
from samebox_docker.container import container_body
from samebox_docker.mounts import device_mounts, mount_of, split_mounts, targets
from samebox_docker.settings import check_capabilities
from samebox_docker.tmpfs import keep_modes, tmpfs_mounts, workdir_tmpfs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from samebox.config.model import SandboxConfig
    from samebox.engine import EngineInfo
    from samebox.engine.oci.image_facts import ImageFacts
    from samebox_docker.daemon import Daemon
    from samebox_docker.users import Owner

_DISABLE_IPV6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")


class Creation:
    """One sandbox that is to be made.

    Args:
        daemon: Where.
        info: What the daemon is.
        config: What the sandbox is asked to be.
        facts: The sandbox's image.
        runtime: The OCI runtime, or None for the daemon's default.
    """

    def __init__(
        self, daemon: Daemon, info: EngineInfo, config: SandboxConfig, facts: ImageFacts, runtime: str | None
    ) -> None:
        self._daemon = daemon
        self._info = info
        self._config = config
        self._facts = facts
        self._runtime = runtime
        self._program = delivered_agent(facts.architecture, info.isolation)
        self._user = facts.user if config.user is None else config.user
        check_capabilities(config, self._user)
        check_disk(config, facts.volumes)
        self._mounted = (*facts.volumes, *targets(config))

    def run(
        self,
        name: str,
        default_image: str | None,
        labels: Mapping[str, str],
        *,
        hides_modes: bool,
        fresh: Sequence[str],
    ) -> str:
        """Create the container and return its id.

        Args:
            name: The sandbox's name.
            default_image: The engine's.
            labels: The labels that the core gives to it.
            hides_modes: Whether the runtime gives a tmpfs the mode of the directory that it hides.
            fresh: The named volumes that the container makes.

        Raises:
            SandboxExistsError: The name is taken.
            ConfigError: The config has a mistake, as a file at the workdir.
            UnsupportedError: The daemon's host can't run the image's programs.
            EngineError: Docker refused; nothing is left behind but volumes.
        """
        daemon = self._daemon
        check_runnable(
            self._program.machine,
            self._facts.platform,
            engine="docker",
            where=daemon.pool.engine,
            host=self._info.details.get("architecture", ""),
            known=daemon.agent.runs,
            attempt=lambda: daemon.agent.attempt(self._program, self._facts.id),
        )
        if self._config.network is True:
            daemon.network.ensure()
        labels = {**image_label(self._config, default_image, self._facts.id), **labels}
        owner = daemon.users.known(self._facts.id, self._user)
        container = self._create(name, labels, owner)
        try:
            daemon.agent.ensure(self._program, container=container, image=self._facts.id)
            on_tmpfs = self._on_tmpfs(owner)
            if owner is None:
                owner = daemon.users.look_up(container, self._facts.id, self._user)
                if on_tmpfs:  # whose options name the owner, and nothing can be changed in a container that exists
                    daemon.containers.remove(container)
                    container = self._create(name, labels, owner)
            if not on_tmpfs:
                self._give_workdir(container, owner)
            self._give_volumes(container, owner, fresh)
            if hides_modes:
                keep_modes(daemon.pool, container, self._config)
        except BaseException:
            with contextlib.suppress(EngineError):
                daemon.containers.remove(container)
            raise
        return container

    def _create(self, name: str, labels: Mapping[str, str], owner: Owner | None) -> str:
        try:
            return self._daemon.containers.create(name, self._body(labels, owner), labels)
        except EngineError as error:
            # Docker makes the workdir, and names the path where it can't, which may be on its host.
            if str(error).lower().endswith("not a directory"):
                raise no_workdir(self._config.workdir) from None
            raise

    def _on_tmpfs(self, owner: Owner | None) -> bool:
        return workdir_tmpfs(self._config, self._mounted, owner) is not None

    def _body(self, labels: Mapping[str, str], owner: Owner | None) -> dict[str, Any]:
        config, missing = self._config, self._info.missing
        mounts, binds = split_mounts(config, selinux=Capability.SELINUX not in missing)
        if self._info.rootless:
            mounts += device_mounts(config)
        return container_body(
            config,
            image=self._facts.id,
            labels=labels,
            mounts=[self._daemon.agent.mount(self._program), *mounts],
            binds=binds,
            tmpfs=tmpfs_mounts(config, self._mounted, owner),
            missing=missing,
            runtime=self._runtime,
            # Docker would make a missing workdir, and an old runc take the memory file system's mode from it.
            workdir="/" if self._on_tmpfs(owner) else config.workdir,
            rootless=self._info.rootless,
            ipv6=self._has_ipv6(),
        )

    def _has_ipv6(self) -> bool:
        """Return whether the daemon's kernel is this host's, and has IPv6: without it a setting of it is an error."""
        here = self._daemon.address.scheme == "unix" and self._info.details.get("kernel") == platform.release()
        return here and self._info.isolation <= Isolation.ROOTLESS and _DISABLE_IPV6.exists()

    def _give_workdir(self, container: str, owner: Owner) -> None:
        mount = mount_of(self._config, self._config.workdir)
        # A directory of the host keeps its owner, whoever may write it.
        if mount is None or (mount.type == "volume" and not mount.read_only):
            self._daemon.workdirs.give(
                container,
                image=self._facts.id,
                workdir=self._config.workdir,
                owner=owner,
                volumes=self._facts.volumes,
                mounted=mount is not None,
            )

    def _give_volumes(self, container: str, owner: Owner, fresh: Sequence[str]) -> None:
        """Give new volumes to a user who is not root, as Podman does; others keep their owner."""
        for mount in self._config.mounts:
            if owner.uid != 0 and mount.source in fresh and not mount.read_only:
                self._daemon.workdirs.give(
                    container,
                    image=self._facts.id,
                    workdir=mount.target,
                    owner=owner,
                    volumes=self._facts.volumes,
                    mounted=True,
                )
