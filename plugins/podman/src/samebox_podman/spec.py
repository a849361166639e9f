"""ContainerSpec: the request that makes a sandbox, and the check that Podman took all of it.

The request is Podman's own SpecGenerator, as JSON: podman-py's `containers.create` drops or bends many settings.
https://github.com/containers/podman/blob/v5.8.2/pkg/specgen/specgen.go
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.config.units import Tmpfs
from samebox.engine.oci.kernel_paths import MASKED
from samebox.engine.oci.limits import CPU_PERIOD, limits
from samebox.engine.oci.mounts import tmpfs_options
from samebox.engine.oci.settings import SHARED_MEMORY, kernel_names
from samebox.engine.program import MOUNT_POINT, init_argv
from samebox_podman.mounts import bind_mounts, binds_compared, volume_mounts
from samebox_podman.network import LABEL as NETWORK
from samebox_podman.settings import OWN_NETWORKS, network_mode, settings_compared, settings_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from samebox.config.model import SandboxConfig
    from samebox_podman.settings import Comparison
    from samebox_podman.workdir import WorkdirPlan

SHARED_MEMORY_SIZE = 64 << 20
"""Of /dev/shm, as Podman and Docker have it."""
UMASK = "0022"
HOSTS_TO_GIVE = {
    "cap_add": Capability.CAP_ADD,
    "memory": Capability.MEMORY_LIMIT,
    "memory and swap": Capability.SWAP_LIMIT,
    "cpu quota": Capability.CPU_LIMIT,
    "pids limit": Capability.PIDS_LIMIT,
    "apparmor": Capability.APPARMOR,
    "ulimits": Capability.ULIMITS,
    "userns": Capability.USERNS,
}
"""What Podman leaves out with a warning, or without one, where its host has not got it; see `differences`."""
SERVE_ON_STDIO = ("--serve", "0")
"""Has the first process start an agent on its own stdin and stdout, which the first connection is attached to."""


def container_spec(
    config: SandboxConfig,
    *,
    image: str,
    name: str,
    labels: Mapping[str, str],
    agent_volume: str,
    plan: WorkdirPlan,
    missing: Mapping[Capability, str],
    runtime: str | None,
    seccomp: Mapping[str, Any],
    default_ulimits: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    """Return the request that makes a sandbox's container.

    Args:
        config: What it is asked to be.
        image: The image's id.
        name: The container's name.
        labels: All of its labels.
        agent_volume: The volume with the agent.
        plan: How its workdir comes to be.
        missing: What the host lacks, and is not asked for here; Podman would ignore it or fail.
        runtime: The OCI runtime, or None.
        seccomp: The part for the seccomp profile; see `samebox_podman.seccomp.delivered`.
        default_ulimits: See `samebox_podman.settings.settings_spec`.
    """
    spec: dict[str, Any] = {
        "name": name,
        "image": image,
        "labels": dict(labels),
        "entrypoint": [*init_argv(config), *SERVE_ON_STDIO],
        "command": [],
        "stdin": True,
        "work_dir": config.workdir if plan.create else "/",
        "create_working_dir": plan.create,
        # As Docker: no entry in /etc/passwd for a uid that the image does not know, so HOME is / and not the workdir.
        "manage_password": False,
        "umask": UMASK,
        "stop_signal": 15,
        "systemd": "false",
        "httpproxy": False,  # the proxies of the service's own environment, which may have a password
        "init": False,
        "privileged": config.privileged,
        "no_new_privileges": config.no_new_privileges,
        "cap_drop": _dropped(config),
        "cap_add": kernel_names(config.cap_add),
        # Beside Podman's own list, and its list of what is read-only, which its API has no word for.
        "mask": [] if config.privileged else [*MASKED],
        "healthconfig": {"Test": ["NONE"]},
        # What the first process writes would grow a file on the host, and a hostile guest can make it write.
        "log_configuration": {"driver": "none"},
        # As Docker: a volume of the image is an anonymous one, removed with the container.
        "image_volume_mode": "anonymous",
        "volumes": [_volume(agent_volume, MOUNT_POINT, "ro", "nocopy"), *volume_mounts(config)],
        **(_network(config.network) if NETWORK not in labels else _bridge(labels[NETWORK])),
        **settings_spec(config, default_ulimits),
        **seccomp,
    }
    if not config.privileged:
        spec["cgroupns"] = {"nsmode": "private"}
    if network_mode(config.network) in OWN_NETWORKS:
        # As Docker: every user may bind the ports below 1024, which here are nobody else's.
        spec["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    if config.user is not None:
        spec["user"] = config.user
    if config.hostname is not None:
        spec["hostname"] = config.hostname
    if runtime is not None:
        spec["oci_runtime"] = runtime
    size = config.files_in_memory
    mounts = {path: _tmpfs(options, size, owned=plan.give == path) for path, options in config.tmpfs.items()}
    if plan.tmpfs:
        mounts[config.workdir] = _tmpfs(Tmpfs(mode=0o755), size, owned=True)
    if plan.give is not None and plan.give not in mounts:
        spec["volumes"].append(_volume("", plan.give, "rw", "U"))
    if config.read_only:
        # `read_write_tmpfs` stays unset: it makes /tmp, /run and /var/tmp writable, which Docker does not. Since 5.0
        # that leaves /dev/shm read-only as well, where Docker has it writable, so it is mounted in so many words.
        spec["read_only_filesystem"] = True
        shared = Tmpfs(size=config.shm_size or SHARED_MEMORY_SIZE, mode=0o1777, exec=False)
        mounts.setdefault(SHARED_MEMORY, _tmpfs(shared, size, owned=False))
    spec["mounts"] = [
        {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}
        for path, options in mounts.items()
    ] + bind_mounts(config)
    if asked := _limits(config, missing):
        spec["resource_limits"] = asked
    return spec


def _dropped(config: SandboxConfig) -> list[str]:
    if config.privileged:
        return []  # it has all of them, whatever is dropped
    # Podman refuses to drop and add all; as on Docker, what is added stays.
    return kernel_names(each for each in config.cap_drop if each != "ALL" or "ALL" not in config.cap_add)


def _volume(name: str, path: str, *options: str) -> dict[str, Any]:
    return {"Name": name, "Dest": path, "Options": [*options, "nosuid", "nodev", "exec"]}


def _tmpfs(tmpfs: Tmpfs, size: int | None, *, owned: bool) -> list[str]:
    # `notmpcopyup`: as on Docker, it begins empty. Without it Podman copies what the image has there.
    return [*tmpfs_options(tmpfs, size), "notmpcopyup", *(["U"] if owned else [])]


def tmpfs_modes(spec: Mapping[str, Any]) -> dict[str, int]:
    """Return the modes of a request's tmpfs mounts, by path."""
    modes = {}
    for mount in spec["mounts"]:
        if mount["type"] == "tmpfs":
            mode = next(each for each in mount["options"] if each.startswith("mode="))
            modes[mount["destination"]] = int(mode.removeprefix("mode="), 8)
    return modes


def _network(network: bool | str) -> dict[str, Any]:  # noqa: FBT001 - the config's field
    """Return the network's part: none, the default, one of Podman's modes, or its networks by name."""
    mode = network_mode(network)
    if isinstance(network, bool):
        # Not "default", which containers.conf may set to the host's own network.
        return {"netns": {"nsmode": mode}}
    _, _, value = network.partition(":")
    if mode == "container":
        return {"netns": {"nsmode": mode, "value": value}}
    if mode == "ns":
        return {"netns": {"nsmode": "path", "value": value}}
    if mode in {"slirp4netns", "pasta"} and value:
        return {"netns": {"nsmode": mode}, "network_options": {mode: value.split(",")}}
    if network == mode:
        return {"netns": {"nsmode": mode}}
    return _bridge(*network.split(","))


def _bridge(*networks: str) -> dict[str, Any]:
    return {"netns": {"nsmode": "bridge"}, "networks": {each: {} for each in networks}}


def _limits(config: SandboxConfig, missing: Mapping[Capability, str]) -> dict[str, Any]:
    asked = limits(config, missing)
    found: dict[str, Any] = {}
    if asked.memory is not None:
        found["memory"] = {"limit": asked.memory, "swap": asked.memory_and_swap}
    if asked.cpu_quota is not None:
        found["cpu"] = {"period": CPU_PERIOD, "quota": asked.cpu_quota}
    if asked.pids is not None:
        found["pids"] = {"limit": asked.pids}
    return found


def differences(spec: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, str]:
    """Compare what was asked for with what Podman's inspect tells of the container.

    Args:
        spec: The request.
        found: The answer of inspect.

    Returns:
        What differs, and the difference in words; empty if Podman took everything.
    """
    return {
        what: f"{what}: asked for {asked!r}, it has {has!r}"
        for what, asked, has, same in _comparisons(spec, found)
        if not (same(asked, has) if same else asked == has)
    }


def _comparisons(spec: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Comparison]:
    host, config = found["HostConfig"], found["Config"]
    yield "name", spec["name"], found["Name"], None
    yield "image", spec["image"], found["Image"], None
    yield "labels", spec["labels"], config.get("Labels") or {}, lambda asked, has: asked.items() <= has.items()
    yield "command", spec["entrypoint"], [found["Path"], *(found["Args"] or [])], None
    yield "stdin", spec["stdin"], config.get("OpenStdin"), None
    yield "working directory", spec["work_dir"], config["WorkingDir"], None
    yield "umask", spec["umask"], config.get("Umask"), None
    yield "stop signal", spec["stop_signal"], config.get("StopSignal"), lambda _, has: has in {15, "15", "SIGTERM"}
    yield "privileged", spec["privileged"], host["Privileged"], None
    yield "health check", ["NONE"], (config.get("Healthcheck") or {}).get("Test"), None
    for key, where, name in (
        ("user", config, "User"),
        ("hostname", config, "Hostname"),
        ("oci_runtime", found, "OCIRuntime"),
    ):
        if key in spec:
            yield name, spec[key], where.get(name), None
    yield from _security(spec, found)
    yield from _mounts(spec, found)
    yield from binds_compared(spec, found)
    yield from _networks(spec, found)
    yield from settings_compared(spec, found)
    asked = spec.get("resource_limits", {})
    if "memory" in asked:
        yield "memory", asked["memory"]["limit"], host["Memory"], None
        limit, both = asked["memory"]["limit"], asked["memory"]["swap"]
        # Less swap than none there can't be; a kernel without swap accounting tells 0.
        yield "memory and swap", both, host["MemorySwap"], lambda _, has: has == both or (has == 0 and both == limit)
    if "cpu" in asked:
        yield "cpu quota", asked["cpu"]["quota"], host["CpuQuota"], None
        yield "cpu period", asked["cpu"]["period"], host["CpuPeriod"], None
    if "pids" in asked:
        yield "pids limit", asked["pids"]["limit"], host["PidsLimit"], None


def _security(spec: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Comparison]:
    host = found["HostConfig"]
    options = host.get("SecurityOpt") or []
    yield "no_new_privileges", spec["no_new_privileges"], "no-new-privileges" in options, None
    if "seccomp_profile_path" not in spec:  # which inspect does not show
        yield "seccomp", False, any(str(option).startswith("seccomp=unconfined") for option in options), None
    has = {str(name).upper() for name in found.get("BoundingCaps") or []}
    added = set(spec["cap_add"]) - {"ALL"}
    dropped = set(spec["cap_drop"])
    yield "cap_add", sorted(added), sorted(has), lambda _, __: added <= has
    if "ALL" in dropped:
        yield "cap_drop", ["ALL"], sorted(has), lambda _, __: "ALL" in spec["cap_add"] or has <= added
    else:
        yield "cap_drop", sorted(dropped), sorted(has), lambda _, __: not dropped & has


def _mounts(spec: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Comparison]:
    host = found["HostConfig"]
    yield "read-only root", spec.get("read_only_filesystem", False), host["ReadonlyRootfs"], None
    volumes = {mount["Destination"]: mount for mount in found.get("Mounts") or [] if mount.get("Type") == "volume"}
    for volume in spec["volumes"]:
        mount = volumes.get(volume["Dest"], {})
        has = (mount.get("Name"), mount.get("RW"))
        asked = (volume["Name"] or mount.get("Name"), "rw" in volume["Options"])
        yield f"volume at {volume['Dest']}", asked, has, None
    tmpfs = host.get("Tmpfs") or {}
    for mount in spec["mounts"]:
        if mount["type"] != "tmpfs":
            continue
        # `notmpcopyup` and U are instructions to Podman, which inspect does not show again.
        asked_options = set(mount["options"]) - {"notmpcopyup", "U"}
        options = set(str(tmpfs.get(mount["destination"], "")).split(","))
        same: Callable[[Any, Any], bool] = set.issubset
        yield f"tmpfs at {mount['destination']}", asked_options, options, same


def _networks(spec: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Comparison]:
    mode = str(found["HostConfig"]["NetworkMode"])
    asked = {"path": "ns"}.get(spec["netns"]["nsmode"], spec["netns"]["nsmode"])
    if asked == "private":
        yield "network", asked, mode, lambda _, has: has not in {"none", "host", ""}
    else:
        # The mode's options and the other container's id follow after a colon.
        yield "network", asked, mode.partition(":")[0], None
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    for name in spec.get("networks", {}):
        yield f"network {name}", True, name in networks, None
