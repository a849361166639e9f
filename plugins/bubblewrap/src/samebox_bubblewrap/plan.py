"""Plan: everything that bwrap is told to make a sandbox of a config and an image."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.engine.mistakes import no_network
from samebox.engine.oci.kernel_paths import MASKED
from samebox.engine.program import GUEST_PATH, MOUNT_POINT, agent_program, init_argv
from samebox.errors import ConfigError, UnsupportedError
from samebox_bubblewrap.cgroups import GROUPS
from samebox_bubblewrap.filter import chosen_filter
from samebox_bubblewrap.mounts import check_workdir, host_mounts, is_inside
from samebox_bubblewrap.network import RESOLVER
from samebox_bubblewrap.rootfs import Names, host_resolver, sized_tmpfs
from samebox_bubblewrap.stage import HostPath
from samebox_bubblewrap.ulimits import resource_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from samebox.config.model import SandboxConfig
    from samebox.config.ports import HostPort
    from samebox.config.units import Tmpfs
    from samebox.engine.oci.users import Identity
    from samebox_bubblewrap.bwrap import Word
    from samebox_bubblewrap.rootfs import Rootfs
    from samebox_bubblewrap.ulimits import Limits

__all__ = ["DEFAULT_PATH", "Plan", "make_plan"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # Docker's default

_NAMESPACES = (
    "--unshare-all",
    # --unshare-all does without a user namespace where it can't be had; as root that would be real root.
    "--unshare-user",
    "--disable-userns",
    "--as-pid-1",
    "--die-with-parent",
    "--new-session",
    "--clearenv",
    "--cap-drop",
    "ALL",
)

_SYS = "/sys"
_PROCESSORS = "/sys/devices/system/cpu"
"""What nproc, lscpu and Java's virtual machine look at to count processors; the only part of /sys that is shown."""
_MOST_SERVERS = 3  # MAXNS in resolv.conf(5)


@dataclass(frozen=True, slots=True)
class Plan:
    """What bwrap is told."""

    options: tuple[Word, ...]
    command: tuple[str, ...]
    """The sandbox's first process."""
    network: bool
    """Whether it gets a network of its own; else it has none, or the host's by an option."""
    limits: Limits
    """Of each process."""
    ports: Mapping[str, HostPort]
    """Those of its network that are published."""
    sources: tuple[str, ...]
    """The paths of the host that the config mounts."""
    settings: Mapping[str, str]
    """The settings behind mount points, for errors: words by path."""


def make_plan(
    config: SandboxConfig,
    rootfs: Rootfs,
    identity: Identity,
    devices: Sequence[Word],
    name: str,
    *,
    volume: Callable[[str], Path],
) -> Plan:
    """Work out what bwrap has to be told.

    Args:
        config: The sandbox's config.
        rootfs: Its root file system.
        identity: Who its processes are.
        devices: The words for /dev.
        name: The sandbox's name.
        volume: Tells where a volume's files are, or will be.

    Returns:
        The plan.

    Raises:
        UnsupportedError: A setting can't be honoured.
        ConfigError: A setting is wrong.
    """
    _refuse(config)
    _check_ports(config)
    limits = resource_limits(config.ulimits)
    hostname = config.hostname or name[:63].rstrip("-.") or "sandbox"
    words: list[Word] = [*_NAMESPACES, "--uid", str(identity.uid), "--gid", str(identity.gid), "--hostname", hostname]
    if config.network == "host":
        words.append("--share-net")
    tmpfs = {rootfs.resolve(path): options for path, options in config.tmpfs.items()}
    mounts = host_mounts(config, rootfs, identity, volume)
    targets = [mount.target for mount in mounts]
    workdir = rootfs.resolve(config.workdir)
    check_workdir(workdir, rootfs, mounts, tmpfs)
    ordinary = identity.uid != 0 and not config.read_only
    own = rootfs.own_directories(identity) if ordinary else []
    if ordinary and rootfs.is_directory(workdir):
        own.append(workdir)
    size = config.files_in_memory
    words += rootfs.base([*tmpfs, *targets, workdir, _SYS], own, size)
    words += rootfs.files(identity, Names(hostname, config.extra_hosts, _resolver(config)), read_only=config.read_only)
    words += ["--proc", "/proc", *_proc_masks(), *devices]
    words += _sys()
    words += ["--size", "65536", "--tmpfs", MOUNT_POINT, "--ro-bind", HostPath(str(agent_program().path)), GUEST_PATH]
    words += ["--remount-ro", MOUNT_POINT]
    places = {path: _tmpfs(path, options, size) for path, options in tmpfs.items()}
    places |= {mount.target: [*_parent(mount.target), *mount.words] for mount in mounts}
    writable = [*own, *tmpfs]
    if workdir not in tmpfs and not is_inside(workdir, targets):
        # Where the root is not writable, a place of its own.
        private = (config.read_only or ordinary) and not is_inside(workdir, writable)
        places[workdir] = _tmpfs(workdir, None, size) if private else _directory(workdir)
    # Sorted: a parent comes before what is mounted in it.
    for path in sorted(places):
        words += places[path]
    if config.read_only or ordinary:
        layers = [str(word) for option, word in pairwise(words) if option == "--tmp-overlay"]
        # One that is itself covered can't be reached; what covers it is as writable as it was asked to be.
        left = [layer for layer in [*layers[::-1], "/"] if layer not in {*writable, workdir}]
        for layer in dict.fromkeys(layer for layer in left if not is_inside(layer, targets)):
            words += ["--remount-ro", layer]
    environment = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": identity.home, **rootfs.environment}
    for key, value in environment.items():
        words += ["--setenv", key, value]
    words += ["--chdir", workdir]
    if (filter_program := chosen_filter(config, *_machine())) is not None:
        words += ["--seccomp", filter_program]
    settings = {rootfs.resolve(path): f"tmpfs[{path!r}]" for path in config.tmpfs}
    settings[workdir] = f"workdir={config.workdir!r}"
    settings |= {path: mount.setting for mount in mounts for path in (mount.source, mount.target)}
    sources = tuple(mount.source for mount in mounts)
    return Plan(tuple(words), tuple(init_argv(config)), config.network is True, limits, config.ports, sources, settings)


def _sys() -> list[Word]:
    """Show what the host's /sys tells of its processors, where it tells that, and make room for `Cgroup.view`.

    The group is made when the sandbox starts, and mounted over what is read-only by then.
    """
    words = sized_tmpfs(_SYS, 65536, 0o755)
    for path in (PurePosixPath(_PROCESSORS), PurePosixPath(GROUPS, "memory", "x")):
        words += [word for parent in [*path.parents][-3::-1] for word in _directory(str(parent))]
    return [*words, "--ro-bind-try", _PROCESSORS, _PROCESSORS, "--remount-ro", _SYS]


def _resolver(config: SandboxConfig) -> bytes | None:
    """Return /etc/resolv.conf; None where there is nobody to ask."""
    if config.dns:
        return "".join(f"nameserver {address}\n" for address in config.dns).encode()
    if config.network is True:
        return RESOLVER
    return host_resolver() if config.network == "host" else None


def _refuse(config: SandboxConfig) -> None:
    """Refuse what bwrap can't do and no capability stands for."""
    engine = "bubblewrap"
    for path, options in config.tmpfs.items():
        if (path + "/").startswith(MOUNT_POINT + "/"):
            raise ConfigError(f"tmpfs[{path!r}]: the agent is mounted at {MOUNT_POINT}; choose another path")
        if not options.exec:
            reason = f"bwrap has no option for noexec (tmpfs[{path!r}]); leave it out"
            raise UnsupportedError(Capability.TMPFS, engine, reason)
    if len(config.dns) > _MOST_SERVERS:
        raise ConfigError(f"dns: C libraries ask {_MOST_SERVERS} name servers at most (found {len(config.dns)})")
    if not config.no_new_privileges:
        reason = "bwrap always sets no_new_privs; leave no_new_privileges=False out"
        raise UnsupportedError(Capability.NO_NEW_PRIVILEGES, engine, reason)
    if isinstance(config.network, str) and config.network not in {"none", "host"}:
        raise no_network(config.network, "bubblewrap has no networks with names, but the modes none and host")


def _check_ports(config: SandboxConfig) -> None:
    if config.ports and config.network is not True:
        raise ConfigError(
            f"wrong config: ports: nothing is published with network={config.network!r}; "
            "give network=True, or use forward, which needs none"
        )
    for port, where in config.ports.items():
        reason = ""
        if ":" in where.address:
            reason = f"ports[{port!r}] asks for {where.address}, and slirp4netns publishes at IPv4 addresses alone"
        elif port.endswith("/udp"):
            # Answers go to the address that stands for the host's loopback, which is out of the sandbox's reach.
            reason = f"ports[{port!r}]: slirp4netns loses UDP answers as long as the host's loopback is out of reach"
        if reason:
            raise UnsupportedError(Capability.PORTS, "bubblewrap", reason)


def _tmpfs(path: str, options: Tmpfs | None, size: int | None) -> list[Word]:
    """Mount a memory file system; by default one that only the sandbox's user may write to."""
    asked = options.size if options is not None else None
    return [*_parent(path), *sized_tmpfs(path, asked or size, options.mode if options is not None else 0o755)]


def _parent(path: str) -> list[Word]:
    """Make the directory of a mount point, which bwrap would make for its owner only."""
    return _directory(str(PurePosixPath(path).parent))


def _directory(path: str) -> list[Word]:
    return ["--perms", "0755", "--dir", path] if path != "/" else []


@cache
def _proc_masks() -> tuple[str, ...]:
    """Cover what is in this host's /proc, as Docker does.

    Of /proc/sys it is what belongs to the namespaces, as kernel.msgmax, that could be written. bwrap's own cover asks
    access(2), which says for /proc/sys that nobody may write.
    """
    words = ["--ro-bind", "/proc/sys", "/proc/sys"]
    for path in (Path(name) for name in MASKED if name.startswith("/proc/")):  # of /sys the processors alone are there
        if path.is_dir():
            words += ["--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path)]
        elif path.exists():
            words += ["--ro-bind", "/dev/null", str(path)]
    return tuple(words)


@cache
def _machine() -> tuple[str, tuple[int, int]]:
    """Return the processor's name and the kernel's version, as the filter needs them."""
    major, minor = (int("".join(c for c in part if c.isdigit()) or 0) for part in platform.release().split(".")[:2])
    return agent_program().machine, (major, minor)
