"""runtimes and with_runtime: the presets of Runtime, of the core and of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.config.build import Runtime
from samebox.engine.registry import registry
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig

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
        ConfigError: Two presets have the same name.
    """
    found: dict[str, Runtime] = {}
    for runtime in (*_PRESETS, *registry().runtimes()):
        if runtime.name in found:
            msg = f"two plugins have a Runtime preset of the name {runtime.name!r}; uninstall or disable one of them"
            raise ConfigError(msg)
        found[runtime.name] = runtime
    return found


def with_runtime(config: SandboxConfig) -> SandboxConfig:
    """Return a config with the Runtime itself in the place of a preset's name.

    Raises:
        ConfigError: There is no such preset, or there are two presets of one name.
    """
    if config.build is None or config.build.preset is None:
        return config
    name, known = config.build.preset, runtimes()
    if name not in known:
        msg = (
            f"wrong config: build = {name!r}: there is no preset {name!r}; there are: {', '.join(sorted(known))}. "
            f"A directory is written as ./{name}"
        )
        raise ConfigError(msg)
    return config.replace(build=config.build.model_copy(update={"runtime": known[name], "preset": None}))
