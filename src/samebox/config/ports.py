"""HostPort: where on the host a port of the sandbox can be reached, and docker's spellings of published ports."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_PORT = Annotated[int, Field(ge=1, le=65535)]
_CONTAINER = re.compile(r"(\d{1,5})(?:/(tcp|udp))?")


class HostPort(BaseModel):
    """An address and port of the host; loopback alone unless another address is asked for.

    Accepts a port, None for any free port, or "address:port".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    address: str = "127.0.0.1"
    """An IP address of the host."""
    port: _PORT | None = None
    """A port of the host; None: any free port."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if value is None:
            return {}
        if isinstance(value, int) and not isinstance(value, bool):
            return {"port": value}
        if isinstance(value, str):
            address, _, port = value.rpartition(":")
            found: dict[str, Any] = {"address": address.strip("[]")} if address else {}
            return found | ({"port": int(port)} if port.isdecimal() else {"port": port or None})
        return value

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        return str(ipaddress.ip_address(value))


def container_port(value: Any) -> str:
    """Return a container's port in its normal form, as "8080/tcp".

    Raises:
        ValueError: The value is no port.
    """
    match = _CONTAINER.fullmatch(str(value))
    if match is None or isinstance(value, bool) or not 1 <= int(match[1]) <= 65535:
        raise ValueError(f"a port is 1 to 65535, with /tcp or /udp if need be, not {value!r}")
    return f"{int(match[1])}/{match[2] or 'tcp'}"


def published_ports(value: Any) -> Any:
    """Turn docker's spellings, as in ["8080:80", "127.0.0.1:53:53/udp", "80"], into a mapping by container port."""
    if isinstance(value, list | tuple):
        pairs: dict[Any, Any] = {}
        for text in value:
            host, _, container = str(text).rpartition(":")
            pairs[container] = host or None
        value = pairs
    if not isinstance(value, dict):
        return value
    return {container_port(port): where for port, where in value.items()}
