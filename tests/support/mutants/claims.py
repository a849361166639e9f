"""Mutants that claim what they have not, or have what they do not claim.

None claims what a test tries out by writing to the root file system, by filling memory or by starting processes
without end: the local engine has no wall.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mutants.mutant import mutant
from mutants.results import wrap
from samebox.agent.guest import AgentGuest
from samebox.capabilities import Capability, Isolation
from samebox.engine import requirements
from samebox.errors import EngineError
from samebox.guest.results import ExecResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import pytest

    from mutants.results import Operation
    from samebox.config.model import SandboxConfig
    from samebox.engine.local import LocalEngine


@mutant("environment/hostname-is-the-configs")
def claims_hostnames(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """HOSTNAME is claimed, and the setting is dropped."""
    engine.capabilities |= {Capability.HOSTNAME}


@mutant("hardening/host-processes-are-invisible")
def claims_process_isolation(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """PROCESS_ISOLATION is claimed, and the host's processes are seen."""
    engine.capabilities |= {Capability.PROCESS_ISOLATION}


@mutant("hardening/host-files-are-not-there", "kernel-view/masked-files-tell-nothing")
def claims_a_root_file_system(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """ROOT_FILESYSTEM is claimed, and the host's files are there."""
    engine.capabilities |= {Capability.ROOT_FILESYSTEM}


@mutant("kernel-view/nothing-of-the-kernel-can-be-written[default]", "kernel-view/groups-are-named-from-inside")
def shows_a_kernel_to_be_written(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A file of /sys can be written, and the host's control groups are seen. It is said, and not tried on this host."""
    engine.capabilities |= {Capability.ROOT_FILESYSTEM, Capability.USER}

    async def writable(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        if ".samebox-try" in str(argv):
            return ExecResult(0, b"/sys/kernel/mm/transparent_hugepage/enabled\n100\ntried\n")
        return await original(self, argv, **settings)

    async def named(original: Operation, self: Any, path: Any, **settings: Any) -> Any:
        return b"0::/docker/0123\n" if path == "/proc/self/cgroup" else await original(self, path, **settings)

    wrap(patch, AgentGuest, "exec", writable)
    wrap(patch, AgentGuest, "read_bytes", named)


@mutant("network/published-port-is-reached")
def claims_ports(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """PORTS is claimed, and nothing is published."""
    engine.capabilities |= {Capability.PORTS}


@mutant("reuse/name-attaches-to-what-runs")
def claims_persistence(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """PERSISTENT is claimed, and another engine object knows no sandbox by its name."""
    engine.capabilities |= {Capability.PERSISTENT}


@mutant(
    "mounts/no-setuid-file-is-left-on-the-host",
    "mounts/bind-mount-is-the-hosts-directory",
    "mounts/source-is-no-link-of-a-sandbox",
    "mounts/missing-source-is-an-error",
)
def claims_bind_mounts(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """BIND_MOUNTS and SECCOMP are claimed, and nothing is mounted or filtered."""
    engine.capabilities |= {Capability.BIND_MOUNTS, Capability.SECCOMP}


@mutant("mounts/what-is-written-is-the-writers[0]")
def gives_what_is_written_to_another(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """BIND_MOUNTS and USER are claimed, and what is written in a mount belongs to another user."""
    engine.capabilities |= {Capability.BIND_MOUNTS, Capability.USER}
    target = "/mnt/shared"
    sources: list[str] = []
    create = engine.create

    def mounting(self: LocalEngine, config: SandboxConfig, **settings: Any) -> str:
        sources[:] = [mount.source for mount in config.mounts]
        return create(self, config, **settings)

    def there(path: Any) -> str:
        return str(path).replace(target, sources[0] if sources else target)

    async def run(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        return await original(self, [there(word) for word in argv], **settings)

    async def write(original: Operation, self: Any, path: Any, data: Any, **settings: Any) -> Any:
        return await original(self, there(path), data, **settings)

    async def look(original: Operation, self: Any, path: Any, **settings: Any) -> Any:
        found = await original(self, there(path), **settings)
        return replace(found, uid=found.uid + 1)

    patch.setattr(engine, "create", mounting)
    for name, broken in (("exec", run), ("write_bytes", write), ("stat", look)):
        wrap(patch, AgentGuest, name, broken)


@mutant("hardening/capability-of-an-ordinary-user")
def claims_capabilities(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """CAP_ADD and USER are claimed, and both settings are dropped."""
    engine.capabilities |= {Capability.CAP_ADD, Capability.USER}


@mutant("hardening/another-user-has-no-weaker-walls", "hardening/an-ordinary-user-has-no-weaker-walls")
def claims_walls_for_every_user(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """CAP_DROP, NO_NEW_PRIVILEGES, USER and EXEC_USER are claimed, and every command is the host's own user's."""
    engine.capabilities |= {
        Capability.CAP_DROP,
        Capability.NO_NEW_PRIVILEGES,
        Capability.USER,
        Capability.EXEC_USER,
    }


@mutant(
    "system-calls/ways-out-are-refused",
    "system-calls/mounting-in-a-namespace-of-its-own-is-refused",
    "system-calls/calls-of-another-abi-are-refused",
)
def claims_a_filter(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """SECCOMP is claimed, and every call reaches the kernel."""
    engine.capabilities |= {Capability.SECCOMP}


@mutant("network/unknown-network-is-an-error")
def claims_named_networks(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """NETWORK_NAMED is claimed, and every name is taken."""
    engine.capabilities |= {Capability.NETWORK_NAMED}


@mutant("mounts/new-volume-is-the-users")
def claims_volumes(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """VOLUMES is claimed, and nothing is mounted."""
    engine.capabilities |= {Capability.VOLUMES, Capability.USER}


@mutant(
    "images/build-takes-back-what-is-deep",
    "images/build-has-the-proxies-that-it-is-given[not-given]",
    "made-images/build-is-listed-and-removed",
)
def claims_builds(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """BUILD is claimed, and nothing is built."""
    engine.capabilities |= {Capability.BUILD}


@mutant("images/wrong-name-of-a-snapshot-is-refused")
def takes_every_name(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """SNAPSHOT is claimed, and any name is taken."""
    engine.capabilities |= {Capability.SNAPSHOT}
    patch.setattr("samebox.sandbox.lifecycle.check_new_name", lambda image: None)
    patch.setattr(engine, "commit", lambda self, sandbox_id, image: image)


def _overlook(patch: pytest.MonkeyPatch, capability: Capability) -> None:
    """Let the core pass what the engine does not claim."""
    original = requirements.required

    def required(config: SandboxConfig) -> Iterator[tuple[Capability, str]]:
        return (asked for asked in original(config) if asked[0] is not capability)

    patch.setattr(requirements, "required", required)


@mutant("environment/host-image-runs-the-hosts-programs")
def does_not_claim_the_host_image(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """HOST_IMAGE is not claimed, and works."""
    engine.capabilities -= {Capability.HOST_IMAGE}
    _overlook(patch, Capability.HOST_IMAGE)


@mutant("environment/hostname-is-the-configs")
def ignores_what_it_cannot_honour(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A setting that can't be honoured is ignored."""
    _overlook(patch, Capability.HOSTNAME)


@mutant("environment/hostname-is-the-configs")
def refuses_by_another_error(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A setting that can't be honoured is refused by another error."""
    create = engine.create

    def create_plain(self: LocalEngine, config: SandboxConfig, **settings: Any) -> str:
        if config.hostname is not None:
            raise EngineError("hostname: no such thing")
        return create(self, config, **settings)

    _overlook(patch, Capability.HOSTNAME)
    patch.setattr(engine, "create", create_plain)


@mutant("tiers/weaker-walls-are-refused", "tiers/strongest-wall-is-found")
def accepts_any_wall(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A config gets the engine's wall, whatever tier it asks for."""
    patch.setattr(requirements, "weakest", lambda _config: Isolation.NONE)


@mutant("tiers/weaker-walls-are-refused")
def claims_a_kernel_of_its_own(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The engine offers a virtual machine, and gives what it always gives."""
    probe = engine.probe
    asked: list[object] = []

    def stronger(self: LocalEngine) -> list[dict[str, Any]]:
        asked.append(self)
        return [{}]

    patch.setattr(engine, "stronger", stronger)
    patch.setattr(engine, "probe", lambda self: replace(probe(self), isolation=Isolation.VM) if asked else probe(self))


@mutant("tiers/disk-holds-under-a-read-only-root", "tiers/untrusted-is-strict-and-usable")
def claims_a_read_only_root(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """READ_ONLY_ROOT, TMPFS and NETWORK_NONE are claimed, and nothing is mounted."""
    engine.capabilities |= {Capability.READ_ONLY_ROOT, Capability.TMPFS, Capability.NETWORK_NONE}
