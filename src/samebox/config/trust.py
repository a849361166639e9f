"""OPENS: by which values each setting lets a sandbox reach further than by default, which no stranger may set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.config.model import STRONGEST, SandboxConfig

if TYPE_CHECKING:
    from collections.abc import Callable

_SHM = 64 << 20
"""The size of /dev/shm that container engines give by default, in bytes."""


def opens(config: SandboxConfig, name: str) -> bool:
    """Tell whether a setting of a config lets a sandbox reach further than the setting's default does.

    Args:
        config: The whole config, as some settings have a meaning together.
        name: The setting's name.
    """
    return OPENS[name](config, getattr(config, name), _default(name))


def _default(name: str) -> Any:
    return SandboxConfig.model_fields[name].get_default(call_default_factory=True)


def _never(_config: SandboxConfig, _value: Any, _default: Any) -> bool:
    """The value is of the inside alone, or chooses among what is equally open."""
    return False


def _any(_config: SandboxConfig, value: Any, default: Any) -> bool:
    """Any value but the default reaches beyond the sandbox."""
    return bool(value != default)


def _more(_config: SandboxConfig, value: Any, default: Any) -> bool:
    """A limit is opened by more than the default, None being no limit."""
    return default is not None and (value is None or value > default)


def _off(_config: SandboxConfig, value: Any, default: Any) -> bool:
    """A wall that stands by default is opened by its absence."""
    return bool(default and not value)


def _image(_config: SandboxConfig, value: Any, _default: Any) -> bool:
    """Files of this host are handed to the sandbox."""
    return value is not None and (value == "host" or value.startswith(("dir:", "tar:")))


def _user(_config: SandboxConfig, value: Any, _default: Any) -> bool:
    """The image's own user may be an ordinary one."""
    return value is not None and any(part == "root" or part.strip("0") == "" for part in value.split(":"))


def _swap(config: SandboxConfig, value: Any, _default: Any) -> bool:
    """By default nothing is swapped."""
    return value is not None and (config.memory is None or value > config.memory)


def _shm(_config: SandboxConfig, value: Any, _default: Any) -> bool:
    """Memory of this host, which some hosts can't count to `memory`."""
    return value is not None and value > _SHM


def _tmpfs(config: SandboxConfig, value: Any, _default: Any) -> bool:
    """Memory of this host, unless all of it fits into `memory`: without a size it is half of what the host has."""
    sizes = [tmpfs.size for tmpfs in value.values()]
    return bool(sizes) and (config.memory is None or None in sizes or sum(sizes) > config.memory)


def _dropped(_config: SandboxConfig, value: Any, default: Any) -> bool:
    """Less is dropped than by default."""
    return "ALL" not in value and not set(default) <= set(value)


def _weaker(_config: SandboxConfig, value: Any, default: Any) -> bool:
    """A weaker tier is accepted than by default."""
    return value != STRONGEST and bool(value < default)


def _disk(config: SandboxConfig, value: Any, _default: Any) -> bool:
    """It is the size of memory file systems too, which else have that of `memory`."""
    return value is not None and config.memory is not None and value > config.memory


OPENS: dict[str, Callable[[SandboxConfig, Any, Any], bool]] = {
    "engine": _never,  # what is too weak is refused by `isolation`
    "image": _image,
    "build": _any,  # files of this host go to the engine, and its steps have a network
    "pull": _never,
    "platform": _never,
    "name": _any,  # another sandbox is attached to
    "on_conflict": _any,  # another sandbox is removed
    "keep": _any,  # it runs on when the caller is done
    "labels": _any,  # other programs act by the labels of containers
    "workdir": _never,
    "env": _never,
    "user": _user,
    "hostname": _never,
    "network": _any,
    "ports": _any,
    "dns": _never,
    "extra_hosts": _never,
    "memory": _more,
    "memory_swap": _swap,
    "shm_size": _shm,
    "cpus": _more,
    "pids_limit": _more,
    "ulimits": _any,  # an engine's own defaults, which they would be compared with, are not known
    "disk": _disk,
    "read_only": _off,
    "tmpfs": _tmpfs,
    "mounts": _any,
    "volumes_remove": _any,
    "cap_add": _any,
    "cap_drop": _dropped,
    "privileged": _any,
    "no_new_privileges": _off,
    "security_opt": _any,
    "devices": _any,
    "gpus": _any,
    "userns": _any,
    "isolation": _weaker,
    "idle_timeout": _more,
    "max_lifetime": _more,
    "output_limit": _more,  # memory of this process
    "file_limit": _more,
    "options": _any,
}
"""The rule of each setting; it is given the config, the value and the default."""
