"""Filters: the seccomp programs of samebox's own profile, and of those that a config names."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from samebox.engine.oci.default_profile import default_profile, writes_last
from samebox.engine.oci.seccomp import OPTION, UNCONFINED, chosen_profile, read_profile
from samebox.errors import ConfigError
from samebox_bubblewrap.seccomp import compile_profile

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig


@cache
def default_filter(machine: str, kernel: tuple[int, int], *, lasting: bool) -> bytes:
    """Return the default profile as a filter program.

    Args:
        lasting: See `samebox.engine.oci.default_profile.default_profile`.
        machine: "x86_64" or "aarch64".
        kernel: Version of the running kernel.

    Returns:
        The program for `bwrap --seccomp`.
    """
    return compile_profile(default_profile(lasting=lasting), machine=machine, kernel=kernel)


def chosen_filter(config: SandboxConfig, machine: str, kernel: tuple[int, int]) -> bytes | None:
    """Return the filter that a config asks for, the default one unless it does.

    Args:
        config: What the sandbox is asked to be.
        machine: "x86_64" or "aarch64".
        kernel: Version of the running kernel.

    Returns:
        The program for `bwrap --seccomp`; None: no filter.

    Raises:
        ConfigError: The profile can't be read, is not in Docker's format, or two are named.
    """
    path = chosen_profile(config.security_opt)
    if path is None:
        return default_filter(machine, kernel, lasting=writes_last(config))
    if path == UNCONFINED:
        return None
    profile = read_profile(path)
    try:
        return compile_profile(profile, machine=machine, kernel=kernel)
    except ConfigError as error:
        raise ConfigError(f"wrong config: security_opt = {OPTION + path!r}: {error}") from None
