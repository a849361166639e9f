"""SandboxConfig: the settings of a sandbox, in words that hold on every engine."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from samebox.capabilities import Isolation
from samebox.config.build import ImageBuild
from samebox.config.environment import check_env, masked, without_password
from samebox.config.help import signature
from samebox.config.mounts import Device, Mount
from samebox.config.nearest import nearest
from samebox.config.paths import absolute_path
from samebox.config.ports import HostPort, published_ports
from samebox.config.units import (
    ULIMITS,
    USER,
    AddedCapabilities,
    LinuxCapability,
    MemoryLimit,
    PidsLimit,
    Size,
    Tmpfs,
    Ulimit,
    pairs,
)
from samebox.config.untrusted import UNTRUSTED
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Unpack

    from pydantic import SerializerFunctionWrapHandler

    from samebox.config.settings import SandboxSettings

T = TypeVar("T")

STRONGEST = "strongest"
"""The value of `isolation` that leaves the tier to what is here."""
_SPELLING = {
    "name": (
        r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}",
        "a name begins with a letter or digit and has letters, digits, '_', '.', '-'",
    ),
    "user": (USER, "a user is a name, a uid or uid:gid"),
    "hostname": (
        r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?",
        "a host name has letters, digits, '.' and '-', at most 63",
    ),
    "platform": (r"linux/[a-z0-9]+(/[a-z0-9]+)?", "a platform is as linux/arm64"),
    "userns": (r"[a-z][\w:=,.-]*", "a user namespace mode is as keep-id or keep-id:uid=1000,gid=1000"),
}
_SECURITY = re.compile(r"seccomp=(unconfined|/.+)|apparmor=[\w.-]+|label=(disable|(user|role|type|level):[\w.:,-]+)")


class SandboxConfig(BaseModel):
    """The settings of a sandbox.

    Frozen, and secure by default. A setting that an engine cannot honour is refused, never ignored. Sizes, env, ports,
    mounts and ulimits accept the spellings of docker's command line. A dump has only the fields that were set, so that
    it reads back as the same config.

    Raises:
        ConfigError: A setting is unknown or wrong; the text names each field, the value and what is accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    engine: str = "auto"
    """The engine's name, or "auto": the first usable engine that can honour the config."""
    image: str | None = None
    """The image: a container image's name, `tar:/path` (a root file system, `docker save` or OCI archive), `dir:/path`
    (a root file system) or `host` (the host's programs, read-only). None: the engine's default image."""
    build: ImageBuild | None = None
    """An image to build in place of `image`: from a Dockerfile's directory or text, a Runtime, or a preset's name."""
    pull: Literal["missing", "always", "never"] = "missing"
    """When to fetch a container image from its registry: where it is missing, always or never."""
    platform: str | None = None
    """The image's platform, as "linux/arm64"; None: the engine's own platform."""
    name: str | None = None
    """The sandbox's fixed name, by which it is attached to or made as `on_conflict` says; None: a new name."""
    on_conflict: Literal["attach", "replace", "error"] = "attach"
    """What to do when a sandbox of the name exists. A sandbox that was attached to is started if it is stopped, and
    never removed on exit."""
    keep: bool = False
    """Whether to leave the sandbox running on exit."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The sandbox's labels, for the engine's listings; names that begin with `samebox.` are reserved."""
    workdir: str = "/workspace"
    """The directory where commands start and relative paths resolve: always there, and writable by the sandbox user."""
    env: Annotated[dict[str, str], BeforeValidator(pairs)] = Field(default_factory=dict)
    """The environment variables of every command. Values are secret: they appear in no repr, log, error or report."""
    user: str | None = None
    """The user that commands run as: a name, uid or uid:gid; None: the image's own user."""
    hostname: str | None = None
    """The host name that the sandbox sees; None: the engine's choice."""
    network: bool | str = False
    """The sandbox's network. False: only loopback. True: one with a way out, where other sandboxes are out of reach. A
    text: a mode or network of the engine."""
    ports: Annotated[dict[str, HostPort], BeforeValidator(published_ports)] = Field(default_factory=dict)
    """The published ports: from the container's port (with /udp if need be) to a port of the host, None being any free
    port. A port is published on the host's loopback alone, unless an address is given."""
    dns: tuple[str, ...] = ()
    """The addresses of the name servers that the sandbox asks."""
    extra_hosts: Annotated[dict[str, str], BeforeValidator(lambda value: pairs(value, ":"))] = Field(
        default_factory=dict
    )
    """Host names and their addresses that the sandbox knows, beside what the name servers know."""
    memory: MemoryLimit = 2 << 30
    """The most memory that the sandbox may use, its files in memory included, in bytes or as "512m"; at least 16 MiB.
    None, as text "unlimited": no limit."""
    memory_swap: Size | None = None
    """The most memory and swap together that the sandbox may use, in bytes or as "1g"; None: as `memory`, so that
    nothing is swapped."""
    shm_size: Size | None = None
    """The size of /dev/shm, in bytes or as "64m"; None: the engine's default size."""
    cpus: PositiveFloat | None = None
    """The most processor time that the sandbox may use, in processors: 1.5 is one and a half."""
    pids_limit: PidsLimit = 512
    """The most processes and threads that the sandbox may have at a time; at least 16."""
    ulimits: Annotated[dict[str, Ulimit], BeforeValidator(pairs)] = Field(default_factory=dict)
    """The resource limits of each process, as {"nofile": 1024} or {"nofile": (1024, 2048)}."""
    disk: Size | None = None
    """The largest size of the sandbox's writable layer, in bytes or as "1g", on engines that can limit the layer."""
    read_only: bool = False
    """Whether the root file system refuses writes; the workdir, mounts and tmpfs stay writable."""
    tmpfs: dict[str, Tmpfs] = Field(default_factory=dict)
    """Memory file systems by the path of each, with options as in "size=64m,mode=1777,noexec"."""
    mounts: tuple[Mount, ...] = ()
    """The bind mounts and named volumes, as "source:target[:ro,z,Z,U,follow]"."""
    volumes_remove: bool = False
    """Whether to delete the named volumes of `mounts` on exit."""
    cap_add: AddedCapabilities = ()
    """The Linux capabilities to give back after `cap_drop`; "package-manager" stands for those that root needs to
    install packages with apt, dnf or apk: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID and SETUID."""
    cap_drop: tuple[LinuxCapability, ...] = ("ALL",)
    """The Linux capabilities to drop; by default all of them."""
    privileged: bool = False
    """Whether to give the sandbox all the host's devices and capabilities, and no seccomp filter: what has all that is
    no sandbox any more, but some builds need it."""
    no_new_privileges: bool = True
    """Whether setuid programs gain no privileges."""
    security_opt: tuple[str, ...] = ()
    """The security options: `seccomp=/path` (a profile in Docker's JSON format) or `seccomp=unconfined`,
    `apparmor=NAME`, `label=...`."""
    devices: tuple[Device, ...] = ()
    """The host's devices that the sandbox is given, as "/dev/fuse[:/dev/fuse[:rwm]]"."""
    gpus: tuple[str, ...] = ()
    """The GPUs that the sandbox is given, by their number or id, or "all"."""
    userns: str | None = None
    """The user namespace's mode, as "keep-id", on engines that have modes."""
    isolation: Isolation | Literal["strongest"] = Isolation.PROCESS
    """The weakest acceptable tier of isolation; an engine below this tier is refused, unless it has a runtime for the
    tier. "strongest": the strongest tier that an engine here has and that can honour the config."""
    idle_timeout: PositiveFloat | None = None
    """The seconds after which the sandbox ends when nothing is asked of it and no command runs. The sandbox itself
    keeps the time, also when the process that uses it is killed."""
    max_lifetime: PositiveFloat | None = None
    """The seconds after which the sandbox ends in any case. The sandbox itself keeps the time, also when the process
    that uses it is killed."""
    output_limit: Size = 16 << 20
    """How much of each output stream of a command its result holds, in bytes or as "1m"."""
    file_limit: Size = 64 << 20
    """The largest file that one call reads, in bytes or as "1m"."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The options of one particular engine, as `url`; the engine's own model checks them."""

    def __init__(self, **settings: Unpack[SandboxSettings]) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            wrong = config_error(error, dict(settings), type(self).model_fields)
        else:
            return
        raise wrong  # out here, so that pydantic's error, which has the values, is not its context

    @classmethod
    def model_validate(cls, obj: Any, **settings: Any) -> Self:
        """Return the config of a dict, as the constructor does.

        Raises:
            ConfigError: A setting is unknown or wrong.
        """
        return _validated(lambda: super(SandboxConfig, cls).model_validate(obj, **settings))

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **settings: Any) -> Self:
        """Return the config of a JSON object, as the constructor does.

        Raises:
            ConfigError: It is no JSON, or a setting is unknown or wrong.
        """
        return _validated(lambda: super(SandboxConfig, cls).model_validate_json(json_data, **settings))

    @classmethod
    def untrusted(cls, **overrides: Unpack[SandboxSettings]) -> SandboxConfig:
        """Return the strictest config that works here, for code that is taken to be hostile.

        The strongest tier of isolation that an engine here has, a read-only root with a writable workdir and `/tmp` in
        memory, `disk` as the size of each, the default limits of memory and processes, no network, and an end after an
        hour (`UNTRUSTED` in `samebox.config.untrusted`). What the engine can't enforce is on `Sandbox.unenforced`, and
        `Sandbox.summary` tells all of it once the sandbox has started.

        Args:
            overrides: Settings in place of these, and others; a setting given here is refused where it can't be kept.

        Raises:
            ConfigError: A setting is wrong.
        """
        settings: dict[str, Any] = {**UNTRUSTED, **overrides}
        return cls(**settings)

    @property
    def asked(self) -> frozenset[str]:
        """Names of the fields that were set, as opposed to left at their defaults."""
        return frozenset(self.model_fields_set)

    @property
    def files_in_memory(self) -> int | None:
        """The size in bytes of a memory file system that was given none: `disk`, else `memory`; None: no limit."""
        return self.memory if self.disk is None else self.disk

    def replace(self, **settings: Unpack[SandboxSettings]) -> SandboxConfig:
        """Return a config with some settings changed, checked like a new one.

        Raises:
            ConfigError: A setting is wrong.
        """
        kept: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        kept.update(settings)
        return SandboxConfig(**kept)

    def __hash__(self) -> int:
        # Of what usually differs; the rest may be in dictionaries, and is told apart by `==`.
        limits = self.memory, self.cpus, self.pids_limit
        return hash((self.engine, self.image, self.name, self.user, self.network, *limits, frozenset(self.env)))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name in type(self).model_fields:
            if name in self.model_fields_set:
                value = getattr(self, name)
                yield name, masked(value) if name == "env" else value

    @model_serializer(mode="wrap")
    def _what_was_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields that were not set, as a setting that was asked for is refused where an engine lacks it."""
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}

    @model_validator(mode="after")
    def _fit_together(self) -> SandboxConfig:
        """Check settings that exclude or need one another."""
        if self.image is not None and self.build is not None:
            raise ValueError("image and build are two ways to say the same: give one of them")
        if self.memory_swap is not None and (self.memory is None or self.memory_swap < self.memory):
            words = "it needs `memory` (2 GiB by default), and is at least as large"
            raise ValueError(f"memory_swap is memory and swap together: {words}")
        if self.volumes_remove and self.keep:
            raise ValueError("volumes_remove deletes on exit what keep would leave in use: give one of them")
        return self

    @field_validator("tmpfs", mode="before")
    @classmethod
    def _paths_alone(cls, value: Any) -> Any:
        """Accept a list of paths, each with its options after a colon."""
        if isinstance(value, list | tuple | set):
            return {path: options or None for path, _, options in (str(text).partition(":") for text in value)}
        return value

    @field_validator("tmpfs")
    @classmethod
    def _absolute_mounts(cls, value: dict[str, Tmpfs]) -> dict[str, Tmpfs]:
        return {absolute_path(path): options for path, options in value.items()}

    @field_validator("workdir")
    @classmethod
    def _absolute_workdir(cls, value: str) -> str:
        return absolute_path(value)

    @field_validator("env")
    @classmethod
    def _env_names(cls, value: dict[str, str]) -> dict[str, str]:
        check_env(value)
        return value

    @field_validator("labels")
    @classmethod
    def _label_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not name or name.startswith("samebox."):
                raise ValueError(
                    f"a label has a name, and names that start with 'samebox.' are reserved (found {name!r})"
                )
        return value

    @field_validator(*_SPELLING)
    @classmethod
    def _spelling(cls, value: str | None, info: Any) -> str | None:
        pattern, words = _SPELLING[info.field_name]
        if value is not None and not re.fullmatch(pattern, value):
            raise ValueError(words)
        return value

    @field_validator("dns")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_address(address)) for address in value)

    @field_validator("extra_hosts")
    @classmethod
    def _host_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        pattern, words = _SPELLING["hostname"]
        for host in value:
            if not re.fullmatch(pattern, host):
                raise ValueError(words)
        return {host: str(ipaddress.ip_address(address)) for host, address in value.items()}

    @field_validator("ulimits")
    @classmethod
    def _ulimit_names(cls, value: dict[str, Ulimit]) -> dict[str, Ulimit]:
        for name in value:
            if name not in ULIMITS:
                raise ValueError(f"a ulimit is one of {', '.join(sorted(ULIMITS))}, not {name!r}")
        return value

    @field_validator("security_opt")
    @classmethod
    def _security_options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for option in value:
            if not _SECURITY.fullmatch(option):
                raise ValueError(
                    "a security option is seccomp=unconfined, seccomp=/path/to/profile.json, apparmor=NAME, "
                    f"label=disable or label=type:NAME, not {option!r}; for new privileges use no_new_privileges"
                )
        return value

    @field_validator("image", "engine")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or "\0" in value or value.startswith("-")):
            raise ValueError("it is empty, begins with '-' or has a NUL")
        return value


SandboxConfig.__signature__ = signature(SandboxConfig.model_fields)  # pydantic's does not read


_SECRET = frozenset({"env", "build", "options"})


def config_error(
    error: ValidationError, settings: dict[str, Any], known: Iterable[str], what: str = "config"
) -> ConfigError:
    """Turn pydantic's error into a `ConfigError` that names each field, its value and what is accepted.

    The error's text shows no value of `env`, `build` or `options`, which may hold secrets, nor of an unknown setting,
    which may be one of those misspelt, nor a password in a URL.

    Args:
        error: The error that pydantic raised.
        settings: The settings that were given, by field.
        known: The settings that there are.
        what: What the settings are called in the error's first words.

    Returns:
        The error to raise.
    """
    lines: list[str] = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = [str(part) for part in detail["loc"]]
        name = path[0] if path else what
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = "there is no such setting" + (nearest(name, known) if len(path) == 1 else "")
        hidden = name in _SECRET or detail["type"] == "extra_forbidden"
        found = "" if hidden or name not in settings else f" = {_shown(settings[name])}"
        line = f"{name}{found}: {message}"
        if line not in lines:
            lines.append(line)
    return ConfigError(f"wrong {what}: " + "; ".join(lines))


def _validated(validate: Callable[[], T]) -> T:
    """Return what pydantic makes, or raise what the constructor does, which pydantic puts beside the values."""
    try:
        return validate()
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        inner = detail.get("ctx", {}).get("error")
        wrong = ConfigError(str(inner) if isinstance(inner, ConfigError) else f"wrong config: {detail['msg']}")
    raise wrong


def _shown(value: Any) -> str:
    text = without_password(repr(value))
    return text if len(text) <= 120 else text[:117] + "..."
