"""The forms of the daemon's answers, of which only what is read is named."""

from __future__ import annotations

from typing import Any

from samebox.engine.oci.answers import (
    CONTAINER,
    CREATED,
    IDENTIFIED,
    IMAGE,
    PORTS,
    TEXTS,
    VOLUME,
    by_name,
    many,
    record,
)

_ID = "[^/]+"
_RUNTIME = record(path=str, runtimeType=str, runtimeArgs=list[str])
_INFO = record(
    OSType=str,
    ServerVersion=str,
    Architecture=str,
    KernelVersion=str,
    Driver=str,
    DriverStatus=list[list[str]],
    DefaultRuntime=str,
    Runtimes=by_name(_RUNTIME),
    RuncCommit=record(ID=str),
    SecurityOptions=list[str],
    CgroupDriver=str,
    CgroupVersion=str,
    MemoryLimit=bool,
    SwapLimit=bool,
    PidsLimit=bool,
    CpuCfsQuota=bool,
    DiscoveredDevices=list[TEXTS],
)
_CONTAINER = record(
    CONTAINER,
    HostConfig=record(PortBindings=PORTS),
    NetworkSettings=record(Ports=PORTS),
)

ANSWERS: list[tuple[str, str, Any]] = [
    ("get", "/info", _INFO),
    ("get", "/version", record(Version=str, Arch=str)),
    ("post", "/containers/create", CREATED),
    ("get", "/containers/json", many(IDENTIFIED)),
    ("get", f"/containers/{_ID}/json", _CONTAINER),
    ("post", f"/containers/{_ID}/wait", record({"StatusCode": int})),
    ("post", f"/containers/{_ID}/exec", IDENTIFIED),
    ("get", "/images/json", many(IDENTIFIED)),
    ("get", "/images/.+/json", IMAGE),
    ("get", "/volumes", record(Volumes=many(VOLUME))),
    ("get", f"/volumes/{_ID}", VOLUME),
]
