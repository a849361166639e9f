"""parse_subjects and parse_options: the engines that a command line names, with options and images by label."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from samebox.conformance.runner import Subject
from samebox.engine.registry import registry
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def parse_subjects(engines: Sequence[str], options: Sequence[str], images: Sequence[str]) -> list[Subject]:
    """Return the engines to test that the command line names.

    Args:
        engines: Texts like ENGINE or LABEL=ENGINE.
        options: Texts like LABEL.KEY=VALUE.
        images: Texts like REF, for all engines, or LABEL=REF, for one engine.

    Raises:
        ConfigError: A text is wrong; the error's text says which.
    """
    names: dict[str, str] = {}
    for text in engines:
        label, equals, engine = text.partition("=")
        engine = engine if equals else label
        if not _LABEL.fullmatch(label):
            raise ConfigError(f"{text!r}: an engine is NAME or LABEL=NAME, a label has letters, digits, - and _")
        if label in names:
            raise ConfigError(f"{label!r} is there twice: give one of them a label, as in other={engine}")
        registry().get(engine)
        names[label] = engine
    settings = parse_options(options, names)
    references: dict[str, str] = {}
    for text in images:
        label, equals, reference = text.partition("=")
        if equals and label in names:
            references[label] = reference
        else:
            references |= {other: references.get(other, text) for other in names}
    return [Subject(label, engine, settings[label], references.get(label)) for label, engine in names.items()]


def parse_options(options: Iterable[str], labels: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the options of each engine, by the engine's label.

    Args:
        options: Texts like LABEL.KEY=VALUE.
        labels: The labels of the engines.

    Raises:
        ConfigError: A text is wrong; the error's text says which.
    """
    settings: dict[str, dict[str, str]] = {label: {} for label in labels}
    for text in options:
        key, equals, value = text.partition("=")
        label, dot, name = key.partition(".")
        if not (equals and dot and name):
            raise ConfigError(f"--engine-option {text!r}: an option is ENGINE.KEY=VALUE, as podman.url=unix:///run/...")
        if label not in settings:
            raise ConfigError(f"--engine-option {text!r}: {label!r} is none of {', '.join(settings)}")
        settings[label][name] = value
    return settings
