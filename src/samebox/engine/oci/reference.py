"""Names of images, and their parts."""

from __future__ import annotations

LOCAL = "localhost/"
"""What names of images begin with that were made on a machine; there is no registry behind them."""


def split_reference(image: str) -> tuple[str, str]:
    """Split an image's name into its repository, and its tag ("latest" if it has none) or digest."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, slash, last = image.rpartition("/")
    last, _, tag = last.partition(":")
    return head + slash + last, tag or "latest"


def has_registry(image: str) -> bool:
    """Tell whether a name says which registry it is of, "localhost" for none."""
    first, slash, _ = image.partition("/")
    return bool(slash) and (first == "localhost" or "." in first or ":" in first)
