"""Engine: the contract that a plugin's author reads, and how samebox finds, checks and chooses engines.

A plugin needs `Engine` and the names beside it here, `samebox.engine.hookspecs` to register the class,
`samebox.engine.program` for the agent to deliver and `samebox.engine.streams` for the usual byte streams.

This package imports `samebox.config` and what is below config; it knows neither the agent's protocol nor a sandbox's
lifecycle.
"""

from __future__ import annotations

from samebox.engine.contract import (
    ByteStream,
    Engine,
    EngineInfo,
    EngineOptions,
    SandboxStatus,
    State,
    VolumeStatus,
)
from samebox.engine.images import ImageStatus

__all__ = [
    "ByteStream",
    "Engine",
    "EngineInfo",
    "EngineOptions",
    "ImageStatus",
    "SandboxStatus",
    "State",
    "VolumeStatus",
]
