"""Mount and Device: the host's paths and devices, and the engine's volumes, that a sandbox is given."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from samebox.config.paths import absolute_path

VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


class Mount(BaseModel):
    """A directory or file of the host, or a named volume of the engine, at a path inside the sandbox.

    Accepts docker's spelling, "source:target[:options]", with the options ro, rw, z, Z, U and follow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    type: Literal["bind", "volume"]
    """Whether the source is a path of the host (a remote engine's own host) or a volume's name."""
    source: str
    """The host's path or the volume's name."""
    target: str
    read_only: bool = False
    """Whether the sandbox may only read the mount."""
    selinux: Literal["shared", "private"] | None = None
    """Whether to relabel the source for SELinux: shared by several sandboxes ("z") or for one sandbox alone ("Z")."""
    chown: bool = False
    """Whether to make the sandbox user the owner of the source's files ("U"), on engines that can."""
    follow_links: bool = False
    """Whether a bind mount's source may go through any symbolic link of this host ("follow"). Otherwise links are
    followed only in directories that this user may not write to, where no sandbox can have put them."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = value.split(":")
        if len(parts) not in (2, 3) or not parts[0]:
            raise ValueError("a mount is 'source:target' or 'source:target:options'")
        source, target = parts[:2]
        if source.startswith((".", "~")):
            raise ValueError("a bind mount's source is an absolute path; a volume's is its name")
        found: dict[str, Any] = {"type": "bind" if "/" in source else "volume", "source": source, "target": target}
        for option in parts[2].split(",") if len(parts) == 3 else []:
            if option in {"ro", "rw"}:
                found["read_only"] = option == "ro"
            elif option in {"z", "Z"}:
                found["selinux"] = "shared" if option == "z" else "private"
            elif option == "U":
                found["chown"] = True
            elif option == "follow":
                found["follow_links"] = True
            else:
                raise ValueError(f"a mount's options are ro, rw, z, Z, U and follow, not {option!r}")
        return found

    @field_validator("target")
    @classmethod
    def _target(cls, value: str) -> str:
        target = absolute_path(value)
        if target == "/.samebox" or target.startswith("/.samebox/"):
            raise ValueError("/.samebox is the agent's own place")
        return target

    @model_validator(mode="after")
    def _source(self) -> Mount:
        if self.type == "bind":
            absolute_path(self.source, root=True)
        elif not VOLUME.fullmatch(self.source):
            raise ValueError("a volume's name begins with a letter or digit and has letters, digits, '_', '.' and '-'")
        return self


class Device(BaseModel):
    """A device of the host; accepts docker's spelling, "source[:target[:rwm]]"."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    source: str
    """The device's path on the host."""
    target: str
    """The path inside."""
    permissions: str = "rwm"
    """What the sandbox may do with the device: read (r), write (w), make the node (m)."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = value.split(":")
        if len(parts) == 2 and re.fullmatch("[rwm]{1,3}", parts[1]):
            parts = [parts[0], parts[0], parts[1]]
        if len(parts) > 3:
            raise ValueError("a device is 'source', 'source:target' or 'source:target:rwm'")
        target = parts[1] if len(parts) > 1 else parts[0]
        return {"source": parts[0], "target": target, "permissions": parts[2] if len(parts) > 2 else "rwm"}

    @field_validator("source", "target")
    @classmethod
    def _path(cls, value: str) -> str:
        path = absolute_path(value)
        if not path.startswith("/dev/"):
            raise ValueError("a device's path is below /dev")
        return path

    @field_validator("permissions")
    @classmethod
    def _permissions(cls, value: str) -> str:
        if not re.fullmatch("[rwm]{1,3}", value) or len(set(value)) != len(value):
            raise ValueError("a device's permissions are some of 'rwm'")
        return value
