"""Mutants: deliberately broken engines, each of which the conformance suite has to catch.

Each is the local engine with one defect: in the engine, in its byte stream, or in the guest above it. A defect never
reaches beyond the sandbox's own temporary directory, as the local engine has no wall.
"""

from __future__ import annotations

from mutants import (
    asynchrony,
    claims,
    commands,
    ending,
    environment,
    files,
    leaks,
    lifecycle,
    limits,
    links,
    listings,
    made_images,
    memory,
    networks,
    output,
    processes,
    reuse,
    stdin,
    timeouts,
    wire,
    writes,
)
from mutants.mutant import MUTANTS, STILL_WORKS, ImageSubject, KeptSubject, Mutant, Subject

GROUPS = {
    commands: "Commands",
    environment: "What a command finds around it",
    output: "Output and arguments",
    stdin: "Stdin",
    processes: "Processes that are talked to",
    timeouts: "Timeouts and cancellation",
    wire: "The byte stream",
    asynchrony: "Several things at once",
    limits: "Limits",
    memory: "Memory",
    files: "Reading",
    writes: "Writing",
    listings: "Names, listings and trees",
    links: "Links and confinement",
    lifecycle: "Lifecycle",
    leaks: "Leftovers",
    reuse: "Names and reuse",
    made_images: "Images that were made",
    ending: "Gone or failed",
    networks: "Networks",
    claims: "Claims",
}
"""The modules that make them, each with its heading."""

__all__ = ["GROUPS", "MUTANTS", "STILL_WORKS", "ImageSubject", "KeptSubject", "Mutant", "Subject"]
