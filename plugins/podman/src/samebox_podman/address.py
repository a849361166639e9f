"""Address: where a Podman service is, and who said so."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Podman service is."""

    url: str
    source: str
    """What said so, in words."""
    identity: str | None = None
    """The private key for ssh."""

    def __str__(self) -> str:
        return f"{self.url} ({self.source})"

    @property
    def scheme(self) -> str:
        """unix, tcp or ssh."""
        return self.url.partition("://")[0]

    @property
    def socket_path(self) -> str:
        """The path of the socket, on the service's host."""
        return unquote(urlsplit(self.url).path)

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port of a tcp address."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0
