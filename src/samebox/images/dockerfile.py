"""Dockerfile: which images one begins with and copies from, so that a newer one of these is another content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2b_dockerfile_utils import ShellLex, parse_dockerfile_ast

if TYPE_CHECKING:
    from collections.abc import Mapping


def base_images(text: str, args: Mapping[str, str]) -> tuple[str, ...]:
    """Return the images that a Dockerfile names in `FROM`, `COPY --from` and `RUN --mount=from`, each once.

    Stages of its own and `scratch` are none.

    Args:
        text: The Dockerfile.
        args: Build arguments, which may stand in a name.

    Raises:
        ValueError: It can't be read.
    """
    found: dict[str, None] = {}
    stages: set[str] = set()
    values: dict[str, str] = {}
    parsed = parse_dockerfile_ast(text)
    for instruction in parsed.instructions:
        lex = ShellLex(parsed.escape_token, env=values, skip_unset_env=False)
        if instruction.name == "ARG" and not stages:  # only these count in a FROM
            for word in instruction.args:
                name, equals, default = word.partition("=")
                if name in args or equals:
                    values[name] = args.get(name, lex.process_word(default))
        elif instruction.name == "FROM" and instruction.args:
            image = lex.process_word(instruction.args[0])
            if image.lower() not in stages and image != "scratch":
                found[image] = None
            named = len(instruction.args) == 3 and instruction.args[1].lower() == "as"
            stages |= {str(len(stages)), instruction.args[2].lower() if named else str(len(stages))}
        elif instruction.name in {"COPY", "RUN"}:
            for image in map(lex.process_word, _sources(instruction.flags)):
                if image.lower() not in stages and not image.isdecimal() and image != "scratch":
                    found[image] = None
    return tuple(found)


def _sources(flags: list[str]) -> list[str]:
    """Return what `--from=X` and `--mount=...,from=X` name."""
    words = [flag.removeprefix("--") for flag in flags if not flag.startswith("--mount=")]
    words += [
        word for flag in flags if flag.startswith("--mount=") for word in flag.removeprefix("--mount=").split(",")
    ]
    return [word.removeprefix("from=") for word in words if word.startswith("from=")]
