"""The presets of Runtime: those in the core, and those that plugins add."""

from __future__ import annotations

from samebox.build import Runtime
from samebox.errors import ConfigError
from samebox.registry import registry

_PRESETS = (
    Runtime(name="python-minimal", base_image="python:3.13-slim"),
    Runtime(
        name="python-datascience",
        base_image="python:3.13-slim",
        packages=("numpy", "pandas", "scipy", "scikit-learn", "matplotlib"),
    ),
    Runtime(name="python-web", base_image="python:3.13-slim", packages=("fastapi", "uvicorn", "httpx", "jinja2")),
    Runtime(name="node-minimal", base_image="node:22-slim", package_manager="npm"),
    Runtime(
        name="node-react", base_image="node:22-slim", package_manager="npm", packages=("vite", "react", "react-dom")
    ),
)


def runtimes() -> dict[str, Runtime]:
    """Return every preset by its name.

    Raises:
        ConfigError: Two of them have the same name.
    """
    found: dict[str, Runtime] = {}
    for runtime in (*_PRESETS, *registry().runtimes()):
        if runtime.name in found:
            msg = f"two plugins have a Runtime preset of the name {runtime.name!r}; uninstall or disable one of them"
            raise ConfigError(msg)
        found[runtime.name] = runtime
    return found
