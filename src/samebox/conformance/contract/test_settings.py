"""Further settings, each seen from inside: limits of a process, shared memory, security options."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, requires, verifies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.conformance.contract.conftest import NewBox

SYS_ADMIN = 21
"""The number of the Linux capability SYS_ADMIN."""


@requires(Capability.SWAP_LIMIT, Capability.MEMORY_LIMIT)
@verifies("memory_swap")
def test_swap_limit_is_kept(new_box: NewBox) -> None:
    """`memory_swap` limits memory and swap together.

    Why: with the engine's default a sandbox may swap as much again as its memory, and slows the host down.
    Check: memory.swap.max, or memory.memsw.limit_in_bytes, of the sandbox's cgroup.
    """
    box = new_box(memory="64m", memory_swap="80m")
    result = box.exec(["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"], timeout=60)
    assert result.exit_code != 0, result


@requires(Capability.SHM_SIZE)
@verifies("shm_size")
def test_shm_size_is_kept(new_box: NewBox) -> None:
    """`shm_size` is the size of /dev/shm.

    Why: browsers and databases die with the default of 64 MiB, by SIGBUS.
    Check: the mount's size, by filling it.
    """
    box = new_box(shm_size="2m")
    box.write_bytes("/dev/shm/fits", b"x" * (1 << 20))  # noqa: S108 - inside
    with pytest.raises(OSError, match=r".") as caught:
        box.write_bytes("/dev/shm/large", b"x" * (3 << 20))  # noqa: S108 - inside
    assert caught.value.errno == 28, caught.value
    larger = new_box(shm_size="100m")
    larger.write_bytes("/dev/shm/large", b"x" * (3 << 20))  # noqa: S108 - inside


@requires(Capability.ULIMITS)
@verifies("ulimits")
def test_ulimits_are_kept(new_box: NewBox) -> None:
    """`ulimits` are the soft and hard limits of each command.

    Why: limits set on the container's first process do not always reach an exec.
    Check: `ulimit` inside; what the agent hands on to its commands.
    """
    box = new_box(ulimits={"nofile": (256, 512), "core": 0})
    result = box.sh("ulimit -Sn; ulimit -Hn; ulimit -c", timeout=DEADLINE)
    assert result.text.split() == ["256", "512", "0"], result


@requires(Capability.ULIMITS)
@verifies("ulimits")
def test_other_ulimits_stay(new_box: NewBox) -> None:
    """A limit that `ulimits` does not name is as it is without `ulimits`.

    Why: Podman forgets its defaults as soon as one limit is asked for, and sets the others as high as it can.
    Check: all of `ulimit` inside, with and without the setting.
    """
    script = "ulimit -n; ulimit -u 2>/dev/null || ulimit -p; ulimit -f; ulimit -s"
    usual = new_box().sh(script, timeout=DEADLINE)
    limited = new_box(ulimits={"core": 0}).sh(script + "; ulimit -c", timeout=DEADLINE)
    assert limited.text == usual.text + "0\n", (usual, limited)


@requires(Capability.SHM_SIZE, Capability.READ_ONLY_ROOT)
@verifies("shm_size")
def test_shm_size_under_a_read_only_root(new_box: NewBox) -> None:
    """`shm_size` holds with `read_only` too, and /dev/shm stays writable.

    Why: engines mount it anew then, with a size of their own, or read-only.
    Check: what is mounted at /dev/shm.
    """
    box = new_box(shm_size="2m", read_only=True)
    box.write_bytes("/dev/shm/fits", b"x" * (1 << 20))  # noqa: S108 - inside
    with pytest.raises(OSError, match=r".") as caught:
        box.write_bytes("/dev/shm/large", b"x" * (3 << 20))  # noqa: S108 - inside
    assert caught.value.errno == 28, caught.value


@requires(Capability.DISK_LIMIT)
@verifies("disk")
def test_disk_limit_is_kept(new_box: NewBox) -> None:
    """`disk` limits what can be written to the root file system, where the workdir is.

    Why: one sandbox that fills the disk stops every other one, and the host.
    Check: the storage driver's quota, by filling it.
    """
    box = new_box(disk="32m")
    result = box.sh("dd if=/dev/zero of=fill bs=1M count=128 2>&1; rm -f fill", timeout=60)
    assert b"space" in result.stdout.lower() or b"quota" in result.stdout.lower(), result


@requires(Capability.PRIVILEGED)
@verifies("privileged")
def test_privileged_has_everything(new_box: NewBox) -> None:
    """`privileged` gives all capabilities, and only when asked for.

    Why: some builds need it; where it is refused it must be said.
    Check: CapEff inside.
    """
    box = new_box(privileged=True)
    line = box.exec(["grep", "^CapEff", "/proc/self/status"], timeout=DEADLINE).text.split()[1]
    assert int(line, 16) & 1 << SYS_ADMIN, line


@pytest.fixture
def profile() -> Iterator[Path]:
    """A seccomp profile in Docker's format that allows everything but to make FIFOs and devices."""
    directory = Path(tempfile.mkdtemp(prefix="samebox-conformance-"))
    directory.chmod(0o755)
    path = directory / "seccomp.json"
    path.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mknod", "mknodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
            }
        )
    )
    path.chmod(0o644)
    yield path
    shutil.rmtree(directory)


@requires(Capability.SECCOMP_PROFILE)
@verifies("security_opt")
def test_seccomp_profile_is_in_force(new_box: NewBox, profile: Path) -> None:
    """A seccomp profile in Docker's JSON format decides which system calls are refused.

    Why: docker-py wants the file's content, podman a path of its own host; a wrong one is ignored.
    Check: Seccomp in /proc/self/status, and a call that the profile refuses.
    """
    plain = new_box().sh("mkfifo fifo && echo made", timeout=DEADLINE)
    assert plain.stdout == b"made\n", plain
    box = new_box(security_opt=[f"seccomp={profile}"])
    assert b"Seccomp:\t2" in box.exec(["cat", "/proc/self/status"], timeout=DEADLINE).stdout
    result = box.sh("mkfifo fifo && echo made", timeout=DEADLINE)
    assert (result.stdout, b"not permitted" in result.stderr) == (b"", True), result


@requires(Capability.SECCOMP_PROFILE)
@verifies("security_opt")
def test_seccomp_can_be_switched_off(new_box: NewBox) -> None:
    """`seccomp=unconfined` leaves no filter.

    Why: debuggers and some builds need it; said in words, it has to be so.
    Check: Seccomp in /proc/self/status.
    """
    box = new_box(security_opt=["seccomp=unconfined"])
    assert b"Seccomp:\t0" in box.exec(["cat", "/proc/self/status"], timeout=DEADLINE).stdout


@requires(Capability.APPARMOR)
@verifies("security_opt")
def test_apparmor_profile_is_chosen(new_box: NewBox) -> None:
    """`apparmor=unconfined` leaves commands without an AppArmor profile.

    Why: the default profile refuses mounts and ptrace, which some tests need.
    Check: /proc/self/attr/current inside.
    """
    box = new_box(security_opt=["apparmor=unconfined"])
    assert box.sh("cat /proc/self/attr/current", timeout=DEADLINE).text.startswith("unconfined")


@requires(Capability.SELINUX)
@verifies("security_opt")
def test_selinux_label_is_chosen(new_box: NewBox) -> None:
    """`label=disable` leaves commands without SELinux's confinement.

    Why: bind mounts without a relabel can't be read otherwise.
    Check: /proc/self/attr/current inside.
    """
    box = new_box(security_opt=["label=disable"])
    assert "container_t" not in box.sh("cat /proc/self/attr/current", timeout=DEADLINE).text


@requires(Capability.USERNS)
@verifies("userns")
def test_user_namespace_mode_is_chosen(new_box: NewBox) -> None:
    """`userns="host"` runs in the user namespace that the engine itself has.

    Why: with a namespace of its own, a mounted directory belongs to nobody inside.
    Check: /proc/self/uid_map inside.
    """
    box = new_box(userns="host")
    lines = box.exec(["cat", "/proc/self/uid_map"], timeout=DEADLINE).text.split()
    assert lines[0] == "0", lines
