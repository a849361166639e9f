"""The forms of the service's answers, of which only what is read is named."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from samebox.engine.oci.answers import (
    CONTAINER,
    CREATED,
    ID,
    IDENTIFIED,
    IMAGE,
    PORTS,
    TEXTS,
    TIME,
    VOLUME,
    many,
    record,
)

_ID = "[^/]+"
_HELPER = record(executable=str)
_INFO = record(
    {
        "version": record({"Version": str}),
        "host": record(
            {"security": record(rootless=bool, apparmorEnabled=bool, selinuxEnabled=bool, seccompEnabled=bool)},
            arch=str,
            kernel=str,
            cgroupVersion=str,
            cgroupManager=str,
            cgroupControllers=list[str],
            ociRuntime=record(name=str, version=str),
            slirp4netns=_HELPER,
            pasta=_HELPER,
        ),
    },
    store=record(graphDriverName=str, graphStatus=TEXTS),
)
_CONTAINER = record(
    CONTAINER
    | {
        "Path": str,
        "Config": record({"WorkingDir": str}, Labels=TEXTS, Image=str, Healthcheck=record(Test=list[str])),
        "HostConfig": record(
            {
                "Privileged": bool,
                "ReadonlyRootfs": bool,
                "NetworkMode": str,
                "Memory": int,
                "MemorySwap": int,
                "CpuQuota": int,
                "CpuPeriod": int,
                "PidsLimit": int,
            },
            PortBindings=PORTS,
            SecurityOpt=list[str],
            Tmpfs=TEXTS,
            UsernsMode=str,
            Ulimits=many(record({"Name": str, "Soft": int, "Hard": int})),
        ),
    },
    Args=list[str],
    ImageName=str,
    Mounts=many(record({"Destination": str}, Type=str, Name=str, Source=str, RW=bool)),
    BoundingCaps=list[str],
    NetworkSettings=record(Ports=PORTS, Networks=TEXTS),
    ProcessLabel=str,
)
_NAMES = Annotated[list[str], Field(min_length=1)]
_LISTED = record({"Id": ID, "Names": _NAMES, "State": str, "Created": TIME, "ExitCode": int}, Labels=TEXTS, Image=str)

ANSWERS: list[tuple[str, str, Any]] = [
    ("get", "/info", _INFO),
    ("post", "/containers/create", CREATED),
    ("get", "/containers/json", many(_LISTED) | None),
    ("get", f"/containers/{_ID}/json", _CONTAINER),
    ("post", f"/containers/{_ID}/wait", int),
    ("post", f"/containers/{_ID}/exec", IDENTIFIED),
    ("get", "/images/json", many(IDENTIFIED) | None),
    ("get", "/images/(?!json$).+/json", IMAGE),
    ("get", "/volumes/json", many(VOLUME) | None),
    ("get", "/volumes/(?!json$)[^/]+/json", VOLUME),
]
