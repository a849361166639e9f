"""SandboxConfig: what a sandbox is asked to be, in words that hold on every engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, field_validator

from samebox.capabilities import Isolation
from samebox.errors import ConfigError
from samebox.units import LinuxCapability, Size, Tmpfs

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
USER = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]*\$?(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]*)?")
HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?")


class SandboxConfig(BaseModel):
    """What a sandbox is asked to be. Frozen; secure by default; a setting that an engine cannot honour is refused,
    never ignored.

    Raises:
        ConfigError: A setting is unknown or wrong; the text names each field, the value and what is accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    engine: str = "auto"
    """The engine's name, or "auto": the first usable one that can honour the config."""
    image: str | None = None
    """A container image's name, `tar:/path` (rootfs, `docker save` or OCI archive), `dir:/path` (a root file system),
    or `host` (the host's
    programs, read-only). None: the engine's default."""
    name: str | None = None
    """A fixed name, to attach to what has it or to make it; None: a new one."""
    keep: bool = False
    """Whether to leave the sandbox running on exit."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels for the engine's listings; `samebox.` is reserved."""
    workdir: str = "/workspace"
    """Where commands start and relative paths resolve: always there, and writable by the sandbox user."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment of every command. Values are secret: they appear in no repr, log, error or report."""
    user: str | None = None
    """A name, uid or uid:gid; None: the image's own."""
    hostname: str | None = None
    """The name that the sandbox sees; None: the engine's choice."""
    network: bool | str = False
    """False: only loopback. True: the engine's default network. A text: a mode or network of the engine."""
    memory: Size | None = None
    """Most memory that the sandbox may use, in bytes or as "512m"."""
    cpus: PositiveFloat | None = None
    """Most processor time, in processors: 1.5 is one and a half."""
    pids_limit: PositiveInt = 512
    """Most processes and threads at a time."""
    read_only: bool = False
    """Whether the root file system refuses writes; the workdir and tmpfs mounts stay writable."""
    tmpfs: dict[str, Tmpfs] = Field(default_factory=dict)
    """Memory file systems by path, with options as in "size=64m,mode=1777,noexec"."""
    cap_add: tuple[LinuxCapability, ...] = ()
    """Linux capabilities to give back."""
    cap_drop: tuple[LinuxCapability, ...] = ("ALL",)
    """Linux capabilities to drop; all of them by default."""
    no_new_privileges: bool = True
    """Whether setuid programs gain nothing."""
    isolation: Isolation = Isolation.PROCESS
    """The least acceptable wall; an engine below it is refused."""
    idle_timeout: PositiveFloat | None = None
    """End the sandbox when nothing has been asked of it for so many seconds and no command runs; kept inside it, also
    when this process is killed."""
    max_lifetime: PositiveFloat | None = None
    """End the sandbox after so many seconds; kept inside it, also when this process is killed."""
    output_limit: Size = 16 << 20
    """How much of each of a command's streams a result holds, in bytes or as "1m"."""
    file_limit: Size = 64 << 20
    """The largest file that one call reads, in bytes or as "1m"."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What is particular to one engine, as `url`; checked by the engine's own model."""

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise config_error(error, settings) from None

    @property
    def asked(self) -> frozenset[str]:
        """Names of the fields that were set, as opposed to left at their defaults."""
        return frozenset(self.model_fields_set)

    def replace(self, **settings: Any) -> SandboxConfig:
        """Return a config with some settings changed, checked like a new one.

        Raises:
            ConfigError: A setting is wrong.
        """
        return SandboxConfig(**{name: getattr(self, name) for name in self.model_fields_set} | settings)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name in self.model_fields_set:
            value = getattr(self, name)
            yield name, dict.fromkeys(value, "***") if name == "env" else value

    @field_validator("tmpfs", mode="before")
    @classmethod
    def _paths_alone(cls, value: Any) -> Any:
        """Accept a list of paths, and None for no options."""
        return dict.fromkeys(value) if isinstance(value, list | tuple | set) else value

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
                msg = f"a label has a name, and names that start with 'samebox.' are reserved (found {name!r})"
                raise ValueError(msg)
        return value

    @field_validator("name", "user", "hostname")
    @classmethod
    def _spelling(cls, value: str | None, info: Any) -> str | None:
        pattern, words = {
            "name": (NAME, "a name begins with a letter or digit and has letters, digits, '_', '.' and '-'"),
            "user": (USER, "a user is a name, a uid or uid:gid"),
            "hostname": (HOSTNAME, "a host name has letters, digits, '.' and '-', at most 63"),
        }[info.field_name]
        if value is not None and not pattern.fullmatch(value):
            raise ValueError(words)
        return value

    @field_validator("image", "engine")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or "\0" in value or value.startswith("-")):
            msg = "it is empty, begins with '-' or has a NUL"
            raise ValueError(msg)
        return value


def absolute_path(path: str) -> str:
    """Return an absolute path without needless slashes.

    Raises:
        ValueError: The path is relative, has `.` or `..` components, a NUL or a comma or colon that mount options
            would split at.
    """
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or not parts or {".", ".."} & set(parts) or re.search(r"[\0,:\n]", path):
        msg = f"it is an absolute path below '/', without '.', '..', ',', ':' or line ends (found {path!r})"
        raise ValueError(msg)
    return "/" + "/".join(parts)


def check_env(env: dict[str, str]) -> None:
    """Check the names and values of an environment.

    Raises:
        ValueError: A name is empty or has '=' or NUL, or a value has NUL; the text has no value.
    """
    for name, value in env.items():
        if not name or "=" in name or "\0" in name:
            msg = f"an environment name is not empty and has no '=' or NUL (found {name!r})"
            raise ValueError(msg)
        if "\0" in value:
            msg = f"the value of {name} has a NUL"
            raise ValueError(msg)


def config_error(error: ValidationError, settings: dict[str, Any], what: str = "config") -> ConfigError:
    """Turn pydantic's error into one that names each field, its value and what is accepted; never a value of `env`.

    Args:
        error: What pydantic raised.
        settings: What was given.
        what: What the settings are, for the first words.

    Returns:
        The error to raise.
    """
    lines = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = [str(part) for part in detail["loc"]]
        name = path[0] if path else what
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            known = ", ".join(SandboxConfig.model_fields) if what == "config" else "see the engine's documentation"
            message = f"there is no such setting; there are: {known}"
        found = "" if name == "env" or name not in settings else f" = {_shown(settings[name])}"
        lines.append(f"{'.'.join(path) if name != 'env' else name}{found}: {message}")
    return ConfigError(f"wrong {what}: " + "; ".join(lines))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
