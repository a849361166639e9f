"""Credentials: what `docker login` has kept for a registry, which docker-py reads, and what is wrong with it.

What can't be read is no error as long as nobody needs it: whoever needs it is told by `Credentials.wrong`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import docker.auth
import docker.credentials
import docker.utils.config

_HELPERS = ("credHelpers", "credsStore")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What there is for one registry."""

    known: dict[str, Any] = field(default_factory=dict, repr=False)
    """As docker-py's `auth_config` wants it; empty: none."""
    wrong: str = ""
    """Why there is none, and what to do, in a sentence; never with a secret, nor with a helper's words."""


def credentials_for(image: str) -> Credentials:
    """Return the credentials for an image's registry, read anew each time.

    Args:
        image: The image's name.
    """
    place = docker.utils.config.find_config_file()
    if place is None:
        return Credentials()
    file = str(place)
    registry = ""
    try:
        registry, _ = docker.auth.resolve_repository_name(image)
        config = _relevant(registry, _read(file))
        found = docker.auth.load_config(config_dict=config).resolve_authconfig(registry) if config else None
    except Exception as error:  # noqa: BLE001 - docker-py raises whatever its parts raise: binascii.Error, KeyError, ...
        name = registry or image
        wrong = (
            f"the credentials for {name} in {file} could not be used: {_found(error)}. Correct the file, or run "
            f"`docker login {name}` anew"
        )
        return Credentials(wrong=wrong)
    return Credentials(found or {})


def _read(file: str) -> dict[str, Any]:
    with open(file, encoding="utf-8") as content:  # noqa: PTH123 - docker-py gives no Path
        config = json.load(content)
    if not isinstance(config, dict):
        raise TypeError
    # An old .dockercfg has the registries themselves.
    return config if {"auths", *_HELPERS} & config.keys() or not file.endswith(".dockercfg") else {"auths": config}


def _relevant(registry: str, config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not about a registry: one entry that is broken does not concern the others."""
    entries = {
        name: entry
        for name, entry in (config.get("auths") or {}).items()
        if docker.auth.resolve_index_name(name) == registry
    }
    found = {"auths": entries, **{key: config[key] for key in _HELPERS if config.get(key)}}
    return {key: value for key, value in found.items() if value}


def _found(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"it can't be read ({error.strerror})"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON ({error.msg} in line {error.lineno})"
    if isinstance(error, docker.credentials.StoreError | docker.errors.DockerException):
        return "its credential helper failed (`docker-credential-NAME get` says more)"
    return "it is not written as `docker login` does it"


class Client(docker.APIClient):
    """docker-py's client without credentials of its own, as reading them may fail and is not needed for most calls.

    Builds need none either: what they begin with is there before. Nothing else of config.json is used: its proxies may
    have a password, which is no sandbox's and no build's business.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._auth_configs = _NoneNeeded({})

    @property
    def _general_configs(self) -> dict[str, Any]:
        return {"auths": {}}  # not empty, or docker-py reads the file again

    @_general_configs.setter
    def _general_configs(self, config: Any) -> None:
        del config


class _NoneNeeded(docker.auth.AuthConfig):
    """No credentials, which docker-py does not try to read anew."""

    is_empty = False
