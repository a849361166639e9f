"""SandboxSettings: what each setting of a sandbox may be given as, for editors and type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from samebox.capabilities import Isolation
    from samebox.config.build import ImageBuild, Runtime
    from samebox.config.mounts import Device, Mount
    from samebox.config.ports import HostPort
    from samebox.config.units import Tmpfs, Ulimit

    Size = int | str
    Tier = Isolation | Literal["none", "process", "container", "rootless", "user-kernel", "vm", "strongest"]


class SandboxSettings(TypedDict, total=False):
    """The settings of a sandbox as keyword arguments; what each of them means is in `SandboxConfig`.

    The types are what a setting may be given as. `SandboxConfig` holds each of them in one form.
    """

    engine: str
    image: str | None
    build: ImageBuild | Runtime | Path | str | Mapping[str, Any] | None
    pull: Literal["missing", "always", "never"]
    platform: str | None
    name: str | None
    on_conflict: Literal["attach", "replace", "error"]
    keep: bool
    labels: Mapping[str, str]
    workdir: str
    env: Mapping[str, str] | Sequence[str]
    user: str | None
    hostname: str | None
    network: bool | str
    ports: Mapping[int, HostPort | int | str | None] | Mapping[str, HostPort | int | str | None] | Sequence[str | int]
    dns: Sequence[str]
    extra_hosts: Mapping[str, str] | Sequence[str]
    memory: Size | None
    memory_swap: Size | None
    shm_size: Size | None
    cpus: float | None
    pids_limit: int
    ulimits: Mapping[str, Ulimit | int | str | tuple[int, int]] | Sequence[str]
    disk: Size | None
    read_only: bool
    tmpfs: Mapping[str, Tmpfs | str | Mapping[str, Any] | None] | Iterable[str]
    mounts: Sequence[Mount | str | Mapping[str, Any]]
    volumes_remove: bool
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    privileged: bool
    no_new_privileges: bool
    security_opt: Sequence[str]
    devices: Sequence[Device | str | Mapping[str, Any]]
    gpus: Sequence[str]
    userns: str | None
    isolation: Tier
    idle_timeout: float | None
    max_lifetime: float | None
    output_limit: Size
    file_limit: Size
    options: Mapping[str, Any]
