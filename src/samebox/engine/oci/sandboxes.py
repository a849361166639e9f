"""Words about one sandbox: it is not there, its name is taken, it is gone, or the service refused something to it.

`engine` is everywhere the engine and where it is, as "Docker at unix:///run/docker.sock".
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from samebox.engine.ending import describe_end
from samebox.engine.mistakes import mistake
from samebox.engine.oci.refusal import RefusedError
from samebox.errors import EngineError, SandboxExistsError, SandboxGoneError, SandboxNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox.engine.contract import SandboxStatus
    from samebox.errors import ConfigError, SandboxError

CONTAINER_ID = re.compile("[0-9a-f]{64}")
"""A whole id; services take the beginning of one as well, so that a name as `a1` could be somebody else's container."""


def not_found(engine: str, sandbox_id: str) -> SandboxNotFoundError:
    """Return the error for a sandbox that is not there."""
    return SandboxNotFoundError(f"there is no sandbox {sandbox_id!r} on {engine}")


def name_taken(engine: str, name: str) -> SandboxExistsError:
    """Return the error for a name that another container has."""
    return SandboxExistsError(
        f"a container named {name!r} is already on {engine}; attach to it, remove it or choose another name"
    )


def refused(engine: str, verb: str, sandbox_id: str, words: str) -> EngineError | ConfigError:
    """Return the error for what the service refused to do; a `ConfigError` where the config has a mistake.

    Args:
        engine: Which one and where.
        verb: What was tried, as "start".
        sandbox_id: With which sandbox.
        words: The service's own words.
    """
    return mistake(words) or EngineError(f"{engine} could not {verb} the sandbox {sandbox_id!r}: {words}")


@contextlib.contextmanager
def about(engine: str, verb: str, sandbox_id: str) -> Iterator[None]:
    """Make an error that names the sandbox of what the service refuses in a `with`.

    Args:
        engine: Which one and where.
        verb: What is tried, as "start".
        sandbox_id: With which sandbox.

    Raises:
        SandboxNotFoundError: It is not there.
        ConfigError: The service refused a mistake of the config.
        EngineError: The service refused.
    """
    try:
        yield
    except RefusedError as error:
        if error.no_container:
            raise not_found(engine, sandbox_id) from None
        raise refused(engine, verb, sandbox_id, error.words) from None


def unconnected(engine: str, sandbox_id: str, words: str, inspect: Callable[[str], SandboxStatus]) -> SandboxError:
    """Return the error for a stream that could not be opened: the sandbox is gone, or there is another reason.

    Args:
        engine: Which one and where.
        sandbox_id: To which sandbox.
        words: The service's own words.
        inspect: Returns the sandbox's status, or raises `SandboxNotFoundError`.
    """
    try:
        status = inspect(sandbox_id)
    except SandboxNotFoundError:
        return SandboxGoneError(f"the sandbox {sandbox_id!r} is gone from {engine}: it was removed")
    if status.state == "running":
        said = f"{engine} could not open a stream into the sandbox {status.name!r}: {words}"
        return mistake(words) or EngineError(said)
    how = "it was never started" if status.state == "created" else describe_end(status)
    return SandboxGoneError(f"the sandbox {status.name!r} on {engine} is gone: {how}")
