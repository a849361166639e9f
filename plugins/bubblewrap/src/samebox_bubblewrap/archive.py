"""ImageConfig, and the unpacking of what `tar:` leads to: a root file system, or an image."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from samebox.engine.oci.bounded import ArchiveError, decompressed
from samebox.engine.oci.image_archive import open_archive
from samebox.engine.oci.platforms import check_runnable
from samebox.engine.program import agent_program
from samebox_bubblewrap.unpack import Unpacker

if TYPE_CHECKING:
    from pathlib import Path

    from samebox.engine.program import AgentProgram

__all__ = ["ImageConfig", "unpack_archive"]

_MOST_ENV = 128 << 10
_ATTEMPT = 10.0
"""In seconds."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about the processes in it."""

    environment: dict[str, str]
    user: str
    owned: dict[int, list[str]]
    """The topmost directories of users other than root, by uid."""


def unpack_archive(file: IO[bytes], target: Path, machine: str) -> ImageConfig:
    """Unpack an archive.

    Args:
        file: The archive, at its beginning; maybe compressed with gzip, bzip2, xz or zstd.
        target: An empty directory for the root file system.
        machine: "x86_64" or "aarch64", to choose from an image for several.

    Returns:
        What the image says about processes.

    Raises:
        EngineError: It is broken, hostile, or of an unknown kind.
        UnsupportedError: It is for a processor whose programs this host can't run.
    """
    unpacker = Unpacker(target)
    with open_archive(file, machine, target.parent) as (plain, image):
        if image is None:
            plain.seek(0)
            unpacker.add(plain, layer=False)
            return ImageConfig({}, "", unpacker.owned)
        config = image.config()
        _check_architecture(config, machine)
        for layer in image.layers():
            unpacker.add(decompressed(layer), layer=True)
    return _config(config, unpacker.owned)


def _check_architecture(document: Any, host: str) -> None:
    """Refuse an image whose programs this host can't run; one that does not say what it is of is tried."""
    own = {"x86_64": "amd64", "aarch64": "arm64"}[host]
    named = document.get("architecture") if isinstance(document, dict) else None
    if not isinstance(named, str) or named in {"", own}:
        return
    program = agent_program(named)
    check_runnable(
        program.machine,
        f"linux/{named}",
        engine="bubblewrap",
        where="bubblewrap",
        host=host,
        known={},
        attempt=lambda: _attempt(program),
    )


def _attempt(program: AgentProgram) -> str:
    try:
        done = subprocess.run([program.path, "version"], capture_output=True, check=False, timeout=_ATTEMPT)
    except OSError as error:
        return str(error.strerror)
    except subprocess.TimeoutExpired:
        return f"the agent did not end within {_ATTEMPT:g} s"
    return "" if done.returncode == 0 else f"the agent ended with exit code {done.returncode}"


def _config(document: Any, owned: dict[int, list[str]]) -> ImageConfig:
    """Take from an image's config what processes need, not trusting a word of it."""
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        return ImageConfig({}, "", owned)
    environment: dict[str, str] = {}
    size = 0
    items, user = config.get("Env") or [], config.get("User") or ""
    if not isinstance(items, list) or not isinstance(user, str) or not _writable(user):
        raise ArchiveError("its config's Env is no list, or its User is no text without NULs and lone surrogates")
    for item in items:
        if not isinstance(item, str) or not _writable(item):
            raise ArchiveError("its Env has an entry that is no text without NULs and lone surrogates")
        name, equals, value = item.partition("=")
        size += len(item)
        if size > _MOST_ENV:
            raise ArchiveError(f"its Env has more than {_MOST_ENV} characters")
        if name and equals:
            environment[name] = value
    return ImageConfig(environment, user[:256], owned)


def _writable(text: str) -> bool:
    """Tell whether the kernel takes a text."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
