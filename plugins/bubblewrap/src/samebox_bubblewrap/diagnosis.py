"""What bwrap says when it fails, put into words that name the cause and the remedy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HostFacts", "diagnose"]


_SWITCHED_OFF = (
    "unprivileged user namespaces are switched off (kernel.unprivileged_userns_clone=0). "
    "As root: `sysctl -w kernel.unprivileged_userns_clone=1`."
)
_NO_MORE = (
    "no more user namespaces are allowed (user.max_user_namespaces={}). "
    "As root: `sysctl -w user.max_user_namespaces=15000`; inside another sandbox its maker has to allow them."
)
_APPARMOR = (
    "AppArmor keeps programs without a profile from using user namespaces "
    "(kernel.apparmor_restrict_unprivileged_userns=1, Ubuntu 23.10 and later). "
    "As root: give bwrap a profile with `userns,` in /etc/apparmor.d (Ubuntu's package apparmor-profiles has one for "
    "the system's bwrap), or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`."
)
_MASKED_PROC = (
    "a new /proc can't be mounted, as parts of this one are masked: we are inside a container. "
    "Start it with `--security-opt systempaths=unconfined` (Docker) or `--security-opt unmask=ALL` (Podman), "
    "or choose another engine."
)
_CONTAINED = (
    "user namespaces are refused, and we are {}, where a seccomp or AppArmor profile forbids them. "
    "Start it with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`, or choose another engine."
)
_NO_KERNEL = "this kernel has no user namespaces (CONFIG_USER_NS); another kernel or another engine is needed."
_DENIED = (
    "user namespaces are refused by this host: look at `sysctl kernel.unprivileged_userns_clone "
    "user.max_user_namespaces kernel.apparmor_restrict_unprivileged_userns`, at SELinux and at what started this "
    "process."
)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What this host says about user namespaces."""

    unprivileged_userns_clone: str | None = None
    """Debian's and Arch's own switch; None where the kernel has none."""
    max_user_namespaces: str | None = None
    apparmor_restrict_unprivileged_userns: str | None = None
    """Ubuntu's switch, from 23.10 on."""
    container: str | None = None
    """The container engine around us, "docker" or "podman", as far as it shows."""
    seccomp: bool = False
    """Whether this process runs under a seccomp filter."""

    @classmethod
    def read(cls) -> HostFacts:
        """Read them from /proc; what can't be read is None."""
        container = "podman" if os.path.exists("/run/.containerenv") else None  # noqa: PTH110
        if container is None and os.path.exists("/.dockerenv"):  # noqa: PTH110
            container = "docker"
        return cls(
            _sysctl("kernel/unprivileged_userns_clone"),
            _sysctl("user/max_user_namespaces"),
            _sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            container,
            "\nSeccomp:\t2" in (_text("/proc/self/status") or ""),
        )


def diagnose(said: str, facts: HostFacts) -> str:
    """Explain a failed bwrap.

    Args:
        said: Its stderr.
        facts: What the host says.

    Returns:
        The cause, the remedy and bwrap's own words.
    """
    return f"{_cause(said, facts)} bwrap said: {' '.join(said.split())[:600]!r}"


def _cause(said: str, facts: HostFacts) -> str:
    denied = _denied(said)
    causes = [
        (facts.unprivileged_userns_clone == "0" and "new namespace" in said, _SWITCHED_OFF),
        (facts.max_user_namespaces == "0" or "ENOSPC" in said, _NO_MORE.format(facts.max_user_namespaces)),
        (facts.apparmor_restrict_unprivileged_userns == "1" and denied, _APPARMOR),
        ("mount proc" in said and denied, _MASKED_PROC),
        (denied and facts.container is not None, _CONTAINED.format(f"inside a {facts.container} container")),
        (denied and facts.seccomp, _CONTAINED.format("under a seccomp filter")),
        ("does not support user namespaces" in said, _NO_KERNEL),
        (denied, _DENIED),
    ]
    return next((text for applies, text in causes if applies), "it can't make a sandbox on this host.")


def _denied(said: str) -> bool:
    return any(
        word in said for word in ("Operation not permitted", "Permission denied", "No permissions", "RTM_NEWADDR")
    )


def _sysctl(name: str) -> str | None:
    text = _text(f"/proc/sys/{name}")
    return None if text is None else text.strip()


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
