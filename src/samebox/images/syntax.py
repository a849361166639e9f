"""What a Dockerfile asks for that not every engine's builder has, and the one refusal of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2b_dockerfile_utils import parse_dockerfile_ast

from samebox.capabilities import Capability
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from samebox.config.build import ImageBuild

HEREDOC = "here-documents"
MOUNT = "RUN --mount"
CHMOD = "COPY --chmod"
LINK = "COPY --link"

_WHO = {
    HEREDOC: "engine docker from Docker 23.0, engine podman from Podman 5.0, and engine bubblewrap have them",
    MOUNT: "engines docker and podman have it",
    CHMOD: "every engine has it, docker from Docker 20.10",
    LINK: "engine docker has it from Docker 23.0",
}
_FLAGS = {"--mount": MOUNT, "--chmod": CHMOD, "--link": LINK}


@dataclass(frozen=True, slots=True)
class Need:
    """What one instruction asks for."""

    instruction: str
    line: int
    what: str
    """`HEREDOC`, `MOUNT`, `CHMOD` or `LINK`."""


def needs(text: str) -> list[Need]:
    """Return what a Dockerfile asks for, in its order; nothing of one that can't be read.

    Args:
        text: The Dockerfile's text.
    """
    try:
        instructions = parse_dockerfile_ast(text).instructions
    except ValueError:
        return []  # the engine refuses it, in its own words
    found = []
    for instruction in instructions:
        asked = [HEREDOC] if instruction.heredocs else []
        asked += [what for flag in instruction.flags if (what := _FLAGS.get(flag.partition("=")[0]))]
        found += [Need(instruction.name, instruction.start_line, what) for what in asked]
    return found


def check_needs(build: ImageBuild, lacking: Collection[str], *, engine: str, builder: str) -> None:
    """Refuse a Dockerfile that asks for what a builder has not.

    Args:
        build: What to build.
        lacking: What the builder has not.
        engine: The engine's name.
        builder: What builds there, with its version: "Podman 4.3.1".

    Raises:
        UnsupportedError: The text has the instruction, its line, what is missing, and which engine has it.
    """
    for need in needs(build.text):
        if need.what in lacking:
            where = f"{need.instruction} in line {need.line} of the Dockerfile"
            reason = f"{where}: {builder} does not build {need.what}; {_WHO[need.what]}"
            raise UnsupportedError(Capability.BUILD, engine, reason)
