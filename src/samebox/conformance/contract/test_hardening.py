"""The secure defaults, seen from inside."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.capabilities import Capability, Isolation
from samebox.conformance.contract.harness import DEADLINE, ORDINARY_USER, enforced, requires, verifies
from samebox.conformance.contract.hostview import marked_process
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness
    from samebox.sandbox.sandbox import Sandbox

CHOWN = 0
NET_BIND_SERVICE = 10
SYS_TIME = 25
"""Numbers of Linux capabilities, from capabilities(7)'s header."""


def status(box: Sandbox, user: str | None = None) -> dict[str, str]:
    """Return what /proc says of a command in a sandbox."""
    lines = box.exec(["cat", "/proc/self/status"], user=user, timeout=DEADLINE).text.splitlines()
    found = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "NoNewPrivs" not in found:  # as in gVisor's /proc; prctl(2) tells it everywhere
        dump = box.exec(["setpriv", "-d"], user=user, timeout=DEADLINE).text
        found["NoNewPrivs"] = "1" if "no_new_privs: 1\n" in dump else f"not set: {dump}"
    return found


def check_walls(found: dict[str, str], user: str) -> None:
    """Check a command's capabilities and no_new_privs, and that its groups are none but those of uid:gid."""
    capabilities = {name: int(value, 16) for name, value in found.items() if name.startswith("Cap")}
    assert capabilities.keys() >= {"CapInh", "CapPrm", "CapEff", "CapBnd"}, found
    assert not any(capabilities.values()), found
    assert found["NoNewPrivs"] == "1"
    if user != "root":
        assert set(found["Groups"].split()) <= {user.partition(":")[2]}, found


def has_own_kernel(box: Sandbox, harness: Harness) -> bool:
    """Tell whether a sandbox has another kernel than this host, whose files and devices then are not the host's."""
    if (box.info or harness.info).isolation < Isolation.USER_KERNEL:
        return False
    version = box.exec(["cat", "/proc/version"], timeout=DEADLINE).text
    assert version != Path("/proc/version").read_text(encoding="utf-8"), "it claims a kernel of its own, and has ours"
    return True


@requires(Capability.CAP_DROP)
@verifies("cap_drop")
def test_no_capabilities_by_default(box: Sandbox) -> None:
    """Commands have no Linux capabilities, and none that they could regain.

    Why: containers keep fourteen by default, raw sockets and chown among them.
    Check: CapEff, CapPrm, CapInh, CapBnd and CapAmb in /proc/self/status, and what the engine was asked for.
    """
    enforced(box, Capability.CAP_DROP)
    found = {name: int(value, 16) for name, value in status(box).items() if name.startswith("Cap")}
    # CapAmb, which gVisor does not show, is never more than CapPrm: capabilities(7).
    assert found.keys() >= {"CapInh", "CapPrm", "CapEff", "CapBnd"}, found
    assert not any(found.values()), found


@requires(Capability.CAP_DROP)
@verifies("cap_drop")
def test_capabilities_can_be_asked_to_go(new_box: NewBox) -> None:
    """`cap_drop=["ALL"]`, said in words, leaves no capability; a capability's name takes that capability alone.

    Why: a setting that is dropped on the way to the engine shows only here.
    Check: CapEff and CapBnd in /proc/self/status.
    """
    found = status(new_box(cap_drop=["ALL"]))
    assert int(found["CapEff"], 16) == 0, found
    assert int(found["CapBnd"], 16) == 0, found


@requires(Capability.CAP_ADD, Capability.USER)
@verifies("cap_add")
def test_package_manager_has_what_it_needs(new_box: NewBox) -> None:
    """`cap_add=["package-manager"]` lets root do what apt, dnf and apk do, and gives nothing beyond that.

    Why: without, an installation ends with "setgroups failed"; with all capabilities, root may do a lot more.
    Check: that a file of another owner in a directory of another is written, changed and given a setgid bit, and that a
    command becomes another user.
    """
    box = new_box(user="0:0", cap_add=["package-manager"])
    wanted = sum(1 << bit for bit in (0, 1, 3, 4, 6, 7))
    assert int(status(box)["CapEff"], 16) == int(status(box)["CapBnd"], 16) == wanted
    script = """
        set -e
        mkdir /p && chmod 700 /p && chown 42:43 /p
        echo x > /p/file && chown 44:45 /p/file && chmod 2755 /p/file
        stat -c '%u %g %a' /p/file
    """
    assert box.sh(script, timeout=DEADLINE).check().text == "44 45 2755\n"


@requires(Capability.CAP_ADD)
@verifies("cap_add")
def test_capability_can_be_given_back(new_box: NewBox) -> None:
    """`cap_add` gives back what it names and nothing else.

    Why: `--cap-add` beside `--cap-drop ALL` is order-dependent in some clients.
    Check: CapBnd and CapEff of a root command.
    """
    found = status(new_box(cap_add=["NET_BIND_SERVICE", "CAP_CHOWN"]))
    wanted = 1 << CHOWN | 1 << NET_BIND_SERVICE
    assert int(found["CapBnd"], 16) == wanted, found
    if found["Uid"].split()[1] == "0":
        assert int(found["CapEff"], 16) == wanted, found


@requires(Capability.CAP_ADD, Capability.USER)
@verifies("cap_add")
def test_capability_of_an_ordinary_user(new_box: NewBox) -> None:
    """`cap_add` gives an ordinary user the capability too, or is refused with the reason.

    Why: Docker puts it where it has no effect for such a user, and Podman gives it for some spellings of the user.
    Check: CapEff and CapAmb of commands under `user=`.
    """
    wanted = 1 << NET_BIND_SERVICE
    assert int(status(new_box(cap_add=["NET_BIND_SERVICE"]))["CapBnd"], 16) == wanted
    for user in (ORDINARY_USER, ORDINARY_USER.partition(":")[0]):
        said = ""
        try:
            found = status(new_box(cap_add=["NET_BIND_SERVICE"], user=user))
        except UnsupportedError as error:
            said = str(error)
        if said:
            assert user in said, "the reason does not name the user"
        else:
            assert (int(found["CapEff"], 16), int(found["CapAmb"], 16)) == (wanted, wanted), found


@requires(Capability.CAP_DROP, Capability.NO_NEW_PRIVILEGES, Capability.USER)
def test_an_ordinary_user_has_no_weaker_walls(user_box: Sandbox) -> None:
    """Commands under `user=` have no capability, no new privileges and no further groups.

    Why: a process that changes its user keeps its groups, and what its capability sets had for the next program.
    Check: the five capability sets, NoNewPrivs and Groups in /proc/self/status.
    """
    enforced(user_box, Capability.CAP_DROP, Capability.NO_NEW_PRIVILEGES)
    check_walls(status(user_box), ORDINARY_USER)


@requires(Capability.CAP_DROP, Capability.NO_NEW_PRIVILEGES, Capability.EXEC_USER)
def test_another_user_has_no_weaker_walls(box: Sandbox) -> None:
    """Commands under `exec(user=)` have no capability, no new privileges, no further groups, and the same cgroup.

    Why: Docker's exec starts a new process, with limits and groups that are not the first one's.
    Check: the five capability sets, NoNewPrivs and Groups in /proc/self/status, and /proc/self/cgroup.
    """
    enforced(box, Capability.CAP_DROP, Capability.NO_NEW_PRIVILEGES)
    own = box.exec(["cat", "/proc/self/cgroup"], timeout=DEADLINE).text
    for user in (ORDINARY_USER, "root"):  # one of them is another than the sandbox's own, which any engine takes
        check_walls(status(box, user), user)
        assert box.exec(["cat", "/proc/self/cgroup"], user=user, timeout=DEADLINE).text == own


@requires(Capability.NO_NEW_PRIVILEGES)
@verifies("no_new_privileges")
def test_no_new_privileges_by_default(box: Sandbox) -> None:
    """The no_new_privs bit is set, so that setuid programs gain nothing.

    Why: podman-py sends the option under another name and it is lost (podman-py #502).
    Check: NoNewPrivs in /proc/self/status.
    """
    enforced(box, Capability.NO_NEW_PRIVILEGES)
    assert status(box)["NoNewPrivs"] == "1"


@requires(Capability.NO_NEW_PRIVILEGES)
@verifies("no_new_privileges")
def test_no_new_privileges_can_be_asked_for(new_box: NewBox) -> None:
    """`no_new_privileges=True`, said in words, sets the bit.

    Why: a field that is checked as a default and lost when it is given is found only by giving it.
    Check: NoNewPrivs in /proc/self/status.
    """
    assert status(new_box(no_new_privileges=True))["NoNewPrivs"] == "1"


@requires(Capability.SECCOMP)
def test_seccomp_filter_by_default(box: Sandbox) -> None:
    """A seccomp filter is in force.

    Why: bubblewrap has none of its own, and a daemon may run with its default switched off.
    Check: Seccomp in /proc/self/status; 2 is a filter.
    """
    enforced(box, Capability.SECCOMP)
    assert status(box)["Seccomp"] == "2"


@requires(Capability.SECCOMP)
def test_mounting_is_refused(box: Sandbox) -> None:
    """Nothing can be mounted from inside.

    Why: a mount over /proc or of the host's disk is a way out.
    Check: capabilities and the filter.
    """
    enforced(box, Capability.SECCOMP)
    result = box.sh("mkdir -p m; mount -t tmpfs none m", timeout=DEADLINE)
    assert result.exit_code not in {0, 127}, result


@requires(Capability.PROCESS_ISOLATION)
def test_host_processes_are_invisible(box: Sandbox, here: str) -> None:
    """A process of the host is not seen from inside.

    Why: command lines hold tokens, and what is seen can be signalled by a user of the same id.
    Check: the process namespace, and that /proc is the sandbox's own.
    """
    enforced(box, Capability.PROCESS_ISOLATION)
    with marked_process() as word:
        # From a file, as the word in grep's own command line would be found.
        box.write_text(f"{here}/word", word)
        result = box.sh(f"cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c -f {here}/word; echo looked")
    assert result.stdout == b"0\nlooked\n", result


@requires(Capability.PROCESS_ISOLATION)
def test_first_process_is_the_sandboxs_own(box: Sandbox) -> None:
    """Process 1 is the sandbox's init, and the processes are few.

    Why: with the host's namespace, process 1 is the host's.
    Check: the process namespace.
    """
    enforced(box, Capability.PROCESS_ISOLATION)
    names = box.sh("cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l", timeout=DEADLINE).text.split()
    assert int(names[-1]) < 40, names
    assert "systemd" not in names[0], names


@requires(Capability.ROOT_FILESYSTEM)
def test_host_files_are_not_there(box: Sandbox, tmp_path: Path) -> None:
    """A file of the host is not there under its path, nor anywhere below the root.

    Why: a bind mount of /tmp or of the home directory, made for convenience, gives away everything.
    Check: the mounts.
    """
    enforced(box, Capability.ROOT_FILESYSTEM)
    secret = tmp_path / "samebox-host-secret"
    secret.write_text("host")
    assert not box.exists(str(secret))
    found = box.sh("find / -xdev -name samebox-host-secret 2>/dev/null; cat /proc/self/mountinfo", timeout=DEADLINE)
    assert str(tmp_path) not in found.text, found
    assert "samebox-host-secret" not in found.text, found


@requires(Capability.ROOT_FILESYSTEM)
def test_writes_stay_inside(box: Sandbox) -> None:
    """What is written inside, to /tmp or to the root, is not on the host.

    Why: a file left in the host's /tmp is a way to talk to other sandboxes, and to fool the host's programs.
    Check: the writable layer.
    """
    enforced(box, Capability.ROOT_FILESYSTEM)
    name = f"samebox-conformance-{os.getpid()}"
    places = ("", "/tmp", "/var/tmp", "/dev/shm", "/etc", "/home")  # noqa: S108 - looked for, not used
    names = " ".join(f"{place}/{name}" for place in places)
    box.sh(f"for f in {names}; do echo x > $f; done 2>/dev/null", timeout=DEADLINE)
    found = [place for place in places if Path(f"{place}/{name}").exists()]
    box.sh(f"rm -f {names}", timeout=DEADLINE)
    assert found == [], f"on the host too: {found}"


@requires(Capability.ROOT_FILESYSTEM)
def test_engine_sockets_are_not_there(box: Sandbox) -> None:
    """No engine's socket is reachable from inside.

    Why: whoever may talk to the daemon is root on the host.
    Check: the mounts.
    """
    enforced(box, Capability.ROOT_FILESYSTEM)
    script = (
        "ls -d /var/run/docker.sock /run/docker.sock /run/podman /run/containerd /run/user /run/samebox* "
        "/run/crio 2>/dev/null; "
        "find / -xdev -type s 2>/dev/null; echo looked"
    )
    result = box.sh(script, timeout=DEADLINE)
    assert result.stdout == b"looked\n", result


@requires(Capability.ROOT_FILESYSTEM)
def test_homes_and_secrets_are_not_there(box: Sandbox) -> None:
    """Nothing of the host's /root, /home and password hashes is readable.

    Why: an image made of the host's own directories is quickly too much of them.
    Check: what the `host` image mounts of /etc.
    """
    enforced(box, Capability.ROOT_FILESYSTEM)
    # An image has files of these names too: those of the host have the host's size and time.
    for name in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/root/.ssh", "/root/.bashrc", "/root/.docker"):
        with contextlib.suppress(OSError):
            host = Path(name).stat()
            if box.exists(name):
                found = box.stat(name)
                same = (found.size, found.mtime_ns) == (host.st_size, host.st_mtime_ns)
                assert not same, f"{name} inside is this host's"
    result = box.sh("ls /etc/ssh/ssh_host_* 2>/dev/null; echo looked", timeout=DEADLINE)
    assert result.stdout == b"looked\n", result
    homes = {path.name for path in Path("/home").iterdir()} if Path("/home").is_dir() else set()
    inside = {info.name for info in box.list_dir("/home")} if box.exists("/home") else set()
    assert not homes & inside, f"homes of the host: {homes & inside}"


@requires(Capability.ROOT_FILESYSTEM)
def test_agent_cannot_be_replaced(box: Sandbox) -> None:
    """The agent's own file can't be written, removed, changed in its mode or mounted over from inside.

    Why: a replaced agent speaks in the sandbox's name to the host, in this sandbox and the next.
    Check: that its directory is mounted read-only.
    """
    enforced(box, Capability.ROOT_FILESYSTEM)
    script = (
        "test -d /.samebox || exit 9; for f in /.samebox/*; do (echo x >> $f) 2>/dev/null && echo wrote $f; "
        "rm -f $f 2>/dev/null && echo removed $f; "
        "chmod 4777 $f 2>/dev/null && echo changed $f; done; "
        "(echo x > /.samebox/new) 2>/dev/null && echo made; "
        "mv /.samebox /.other 2>/dev/null && echo moved; echo tried"
    )
    result = box.sh(script, timeout=DEADLINE)
    assert (result.exit_code, result.stdout) == (0, b"tried\n"), result


@requires(Capability.ROOT_FILESYSTEM)
def test_kernel_settings_are_out_of_reach(box: Sandbox, harness: Harness) -> None:
    """The kernel's dangerous files are not writable: sysrq, core_pattern, sysctl.

    Why: core_pattern and uevent_helper run a program on the host, as root.
    Check: read-only mounts of /proc/sys and the others.
    """
    enforced(box, Capability.ROOT_FILESYSTEM)
    script = (
        "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe "
        "/proc/sys/vm/drop_caches /sys/kernel/uevent_helper /sys/fs/cgroup/release_agent; "
        'do test -e "$f" && (: >> "$f") 2>/dev/null && echo "$f"; done; echo tried'
    )
    result = box.sh(script, timeout=DEADLINE)
    assert result.stdout == b"tried\n" or has_own_kernel(box, harness), result


@requires(Capability.ROOT_FILESYSTEM)
def test_devices_are_few(box: Sandbox, harness: Harness) -> None:
    """There are no block devices, no memory devices, and none can be made.

    Why: the host's disk as a device is the host.
    Check: the sandbox's /dev and the capability to make nodes.
    """
    enforced(box, Capability.ROOT_FILESYSTEM)
    script = (
        "find /dev -type b 2>/dev/null; ls -d /dev/mem /dev/kmem /dev/kvm /dev/fuse /dev/net 2>/dev/null; "
        "mknod sda b 8 0 2>/dev/null && echo made; echo looked"
    )
    result = box.sh(script, timeout=DEADLINE)
    assert result.stdout == b"looked\n" or has_own_kernel(box, harness), result


@requires(Capability.CAP_DROP, Capability.ROOT_FILESYSTEM)
def test_clock_cannot_be_set(box: Sandbox) -> None:
    """The clock can't be set from inside.

    Why: there is one clock for the whole host: certificates, logs and tokens of everybody depend on it.
    Check: the capability SYS_TIME, and the filter.
    """
    enforced(box, Capability.CAP_DROP, Capability.ROOT_FILESYSTEM)
    effective = int(status(box)["CapEff"], 16)
    assert not effective & 1 << SYS_TIME, f"CapEff is {effective:x}; refusing to try it on this host's clock"
    before = time.time()
    result = box.exec(["date", "-s", "2001-02-03 04:05:06"], timeout=DEADLINE)
    # Busybox says so and exits with 0.
    assert b"set date" in result.stderr, result
    inside = int(box.exec(["date", "+%s"], timeout=DEADLINE).stdout)
    assert abs(time.time() - before) < 3600, "this host's clock was set"
    assert inside > 10**9 + 10**8, f"the clock inside says {inside}"


def test_usual_devices_are_there(box: Sandbox) -> None:
    """/dev has null, zero, full, random, urandom and tty, and they work.

    Why: a root file system without them breaks redirections, and quietly: /dev/null becomes a file.
    Check: the sandbox's /dev.
    """
    script = (
        "echo x > /dev/null; test -c /dev/null && head -c 3 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; "
        "test -c /dev/full && test -c /dev/random && test -c /dev/tty && echo all"
    )
    assert box.sh(script, timeout=DEADLINE).text.split() == ["3", "4", "all"]


def test_unenforced_is_told(box: Sandbox, harness: Harness) -> None:
    """`unenforced` names exactly the default hardening that is not in force, each with a reason.

    Why: a warning that is logged and forgotten; or a missing seccomp that nobody is told of.
    Check: that what it does not name is measured from inside.
    """
    box.start()
    absent = {name: reason for name, reason in box.unenforced.items() if not reason}
    assert absent == {}, "reasons are missing"
    found = status(box)
    seen = {
        Capability.CAP_DROP: int(found["CapEff"], 16) == 0 and int(found["CapBnd"], 16) == 0,
        Capability.NO_NEW_PRIVILEGES: found["NoNewPrivs"] == "1",
        Capability.SECCOMP: found["Seccomp"] == "2",
    }
    for capability, in_force in seen.items():
        assert in_force or capability in box.unenforced, f"{capability} is not in force, and {harness.engine} is silent"


@requires(Capability.NO_NEW_PRIVILEGES, Capability.SECCOMP)
def test_spawned_and_terminal_commands_are_no_weaker(box: Sandbox) -> None:
    """Commands on a terminal and spawned commands are as confined as other commands.

    Why: an exec with a terminal goes another way through some engines, and lost its options there.
    Check: that every command comes from the same agent.
    """
    enforced(box, Capability.NO_NEW_PRIVILEGES, Capability.SECCOMP)
    with box.spawn(["cat", "/proc/self/status"], tty=True, timeout=DEADLINE) as process:
        text = process.stdout.read().decode()
    found = {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    assert (found["NoNewPrivs"], found["Seccomp"], found["CapEff"]) == ("1", "2", "0000000000000000"), text
