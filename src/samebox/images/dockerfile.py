"""base_images: the images that a Dockerfile begins with and copies from, whose newer versions are another content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2b_dockerfile_utils import ShellLex, parse_dockerfile_ast

if TYPE_CHECKING:
    from collections.abc import Mapping


def base_images(text: str, args: Mapping[str, str]) -> tuple[str, ...]:
    """Return the images that a Dockerfile names in `FROM`, `COPY --from` and `RUN --mount=from`, each once.

    The Dockerfile's own stages and `scratch` do not count as images.

    Args:
        text: The Dockerfile's text.
        args: The build arguments, which may stand in an image's name.

    Raises:
        ValueError: The Dockerfile can't be read.
    """
    found: dict[str, None] = {}
    stages: set[str] = set()
    values: dict[str, str] = {}
    parsed = parse_dockerfile_ast(text)
    for instruction in parsed.instructions:
        lex = ShellLex(parsed.escape_token, env=values, skip_unset_env=False)
        if instruction.name == "ARG" and not stages:  # only an ARG before the first FROM counts in a FROM
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
    """Return the images and stages that `--from=X` and `--mount=...,from=X` name."""
    words = [flag.removeprefix("--") for flag in flags if not flag.startswith("--mount=")]
    words += [
        word for flag in flags if flag.startswith("--mount=") for word in flag.removeprefix("--mount=").split(",")
    ]
    return [word.removeprefix("from=") for word in words if word.startswith("from=")]
