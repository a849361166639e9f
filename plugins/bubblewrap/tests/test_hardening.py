"""The security defaults, seen from inside a sandbox of every kind of image."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox

STATUS = {
    "CapInh": "0000000000000000",
    "CapPrm": "0000000000000000",
    "CapEff": "0000000000000000",
    "CapBnd": "0000000000000000",
    "CapAmb": "0000000000000000",
    "NoNewPrivs": "1",
    "Seccomp": "2",
}


@pytest.fixture(params=["host", "dir"])
def anybox(request: pytest.FixtureRequest, make_box: Callable[..., Sandbox]) -> Sandbox:
    """Return a sandbox on the host's programs, and one on a directory."""
    image = "host" if request.param == "host" else f"dir:{request.getfixturevalue('rootfs')}"
    return make_box(image=image)


def test_process_has_nothing_to_work_with(anybox: Sandbox) -> None:
    """No capability in any set, no way to gain one, and a filter."""
    lines = anybox.exec(["cat", "/proc/self/status"]).text.splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert {name: status[name] for name in STATUS} == STATUS


def test_first_process_is_the_agent(anybox: Sandbox) -> None:
    """The sandbox's own init is PID 1, and not the host's; ENGINES met an exec that landed on the host."""
    assert anybox.exec(["cat", "/proc/1/comm"]).text == "samebox-init\n"


def test_processes_of_the_host_are_invisible(anybox: Sandbox) -> None:
    """A PID namespace with a /proc of its own: only init, agents and the command itself."""
    pids = [int(name) for name in anybox.exec(["ls", "/proc"]).text.split() if name.isdigit()]
    assert len(pids) < 8
    assert max(pids) < 50
    killed = anybox.sh(f"kill -0 {os.getpid()}")
    assert not killed.ok
    assert b"No such process" in killed.stderr


def test_network_is_loopback_alone(anybox: Sandbox) -> None:
    """No interface but lo."""
    lines = anybox.exec(["cat", "/proc/net/dev"]).text.splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"]


def test_host_files_are_absent(box: Sandbox) -> None:
    """Of the host there is /usr and a public part of /etc: no homes, no keys, no passwords, no engine's socket."""
    names = set(box.exec(["ls", "-A", "/"]).text.split())
    allowed = {".samebox", "bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys"}
    assert names <= allowed | {"tmp", "usr", "var", "workspace"}
    for path in ("/root", "/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc/ssl/private", "/run/docker.sock"):
        assert not box.exists(path), path
    assert box.exec(["ls", "-A", "/home", "/run", "/tmp"]).text.split() == ["/home:", "sandbox", "/run:", "/tmp:"]
    assert {line.split(":")[0] for line in box.read_text("/etc/passwd").splitlines()} == {"root", "nobody", "sandbox"}


def test_of_sys_there_are_the_processors_alone(anybox: Sandbox) -> None:
    """Programs count them; nothing of /sys can be written or changed, and nothing else of the host's is there."""
    find = anybox.sh("for dir in /sys /sys/devices /sys/devices/system; do ls -A $dir; done")
    assert find.text.split() == ["devices", "fs", "system", "cpu"]
    assert set(anybox.sh("ls -A /sys/fs /sys/fs/cgroup").text.split()) >= {"/sys/fs:", "cgroup", "/sys/fs/cgroup:"}
    where = "/sys/devices/system/cpu"
    online = f"{where}/online"
    assert anybox.exec(["cat", online]).text == Path(online).read_text()
    for attempt in (f"echo change > {where}/uevent", f"chmod 777 {online}", f"mkdir {where}/new"):
        assert b"Read-only file system" in anybox.sh(f"({attempt}) 2>&1").stdout, attempt


def test_mounts_show_no_path_of_the_host(box: Sandbox) -> None:
    """What is mounted from the host's disk is /usr, public files of /etc, devices and the agent."""
    for line in box.read_text("/proc/self/mountinfo").splitlines():
        root, target = line.split()[3:5]
        if line.partition(" - ")[2].split()[0] in {"tmpfs", "proc", "devpts", "devtmpfs"}:
            continue
        if line.partition(" - ")[2].startswith("cgroup"):
            assert (target.startswith("/sys/fs/cgroup"), line.split()[5].startswith("ro,")) == (True, True), line
            continue
        if target == "/sys/devices/system/cpu":
            assert root == target.removeprefix("/sys"), line
            continue
        assert target.startswith(("/usr", "/etc/", "/lib", "/bin", "/sbin", "/dev/", "/.samebox/agent")), line
        assert target.startswith("/dev/") or target in {"/.samebox/agent", root}, line


@pytest.mark.parametrize(
    "path",
    ["/usr/bin/new", "/usr/new", "/.samebox/new", "/.samebox/agent", "/dev/new", "/proc/sys/kernel/core_pattern"],
)
def test_writing_is_refused(box: Sandbox, path: str) -> None:
    """The host's programs, the agent, /dev and the kernel's settings can't be written.

    As root bwrap alone leaves /proc/sys writable: the kernel goes by the uid outside, without any capability, and
    kernel.core_pattern starts programs on the host.
    """
    result = box.sh(f"echo x > {path}")
    assert not result.ok
    said = result.stderr.decode()
    assert any(word in said for word in ("Read-only file system", "Permission denied", "Text file busy")), said


def test_sysctls_are_refused_by_every_way(anybox: Sandbox) -> None:
    """None of the files in /proc/sys lets itself be opened for writing."""
    script = "for f in $(ls -d /proc/sys/*/* /proc/sys/net/*/*); do [ -f $f ] && (: >> $f) 2>/dev/null && echo $f; done"
    assert anybox.sh(script + "; true").text == ""


@pytest.mark.parametrize("name", ["kcore", "kmsg", "keys", "timer_list", "slabinfo", "kpagecount", "vmallocinfo"])
def test_revealing_files_of_proc_are_closed(anybox: Sandbox, name: str) -> None:
    """What tells about the host's kernel is closed, for root's sandboxes as for an ordinary user's."""
    result = anybox.exec(["cat", f"/proc/{name}"])
    assert not result.ok
    assert result.stdout == b""


def test_device_nodes_work_and_are_not_the_sandbox_own(anybox: Sandbox) -> None:
    """As root, the sandbox's uid owns the host's nodes: chmod 0 /dev/null would reach the whole host."""
    before = stat.S_IMODE(Path("/dev/null").stat().st_mode)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        result = anybox.exec(["chmod", "0", f"/dev/{name}"])
        assert not result.ok
    assert stat.S_IMODE(Path("/dev/null").stat().st_mode) == before
    assert anybox.sh("echo gone > /dev/null && cat /dev/null && : < /dev/urandom").stdout == b""


def test_agent_and_its_directory_stay(anybox: Sandbox) -> None:
    """The sandboxed code can neither replace the agent nor move its directory away, though it owns the root."""
    for script in ("rm -rf /.samebox", "mv /.samebox /x", "rm /.samebox/agent", "echo > /.samebox/agent"):
        anybox.sh(script)
    assert anybox.exec(["ls", "-A", "/.samebox"]).text == "agent\n"
    assert anybox.exec(["ls", "-d", "/x"]).exit_code != 0


def test_init_can_not_be_looked_into(box: Sandbox) -> None:
    """Descriptors of init, its control socket among them, are out of reach for commands."""
    result = box.sh("ls -l /proc/1/fd; cat /proc/1/environ")
    assert result.stdout.count(b"->") == 0
    assert b"PATH=" not in result.stdout


def test_session_has_no_terminal_of_the_host(box: Sandbox) -> None:
    """A session of its own: TIOCSTI would otherwise type into the terminal that samebox runs in."""
    fields = box.read_text("/proc/self/stat").rpartition(")")[2].split()
    assert fields[4] == "0", "tty_nr"


def test_hostname_is_the_sandbox_own(make_box: Callable[..., Sandbox]) -> None:
    """The host's name is not told, and the one that is asked for is seen in every place."""
    box = make_box(hostname="inside")
    assert box.exec(["uname", "-n"]).text == "inside\n"
    assert box.read_text("/etc/hostname") == "inside\n"
    assert box.sh("echo $HOSTNAME").text == "inside\n"
    assert "127.0.0.1\tlocalhost inside\n" in box.read_text("/etc/hosts")


def test_user_and_home(box: Sandbox) -> None:
    """Root or not outside, it is the same user inside, with a home that it can write to."""
    assert box.exec(["id"]).text.startswith("uid=1000(sandbox) gid=1000(sandbox)")
    assert box.sh("echo $HOME; touch ~/x && ls ~").text == "/home/sandbox\nx\n"


def test_default_environment(make_box: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands have what Docker gives them, the config's own, and nothing of this process."""
    monkeypatch.setenv("SAMEBOX_TEST_SECRET", "outside")
    environment = make_box(env={"NAME": "value"}).exec(["env"]).text
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n" in environment
    assert "NAME=value\n" in environment
    assert "outside" not in environment
    assert "LD_" not in environment


def test_secrets_reach_no_command_line(make_box: Callable[..., Sandbox]) -> None:
    """No value of env is in the argv or environment of any process that others can see."""
    box = make_box(env={"TOKEN": "s3cr3t-value"})
    box.exec(["true"])
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                text = (process / name).read_bytes()
            except OSError:
                continue
            assert b"s3cr3t-value" not in text or int(process.name) == os.getpid(), process


def test_ordinary_user_can_write_to_what_is_its_own(make_box: Callable[..., Sandbox], rootfs: Path) -> None:
    """With one uid everything in the root is the user's own; / and /etc refuse it all the same, as elsewhere."""
    for image, user, home in (("host", None, "/home/sandbox"), (f"dir:{rootfs}", "alice", "/home/alice")):
        box = make_box(image=image, user=user)
        for directory in ("/", "/etc", "/var", "/bin", "/home"):
            refused = box.sh(f"echo x > {directory}/new")
            assert b"Read-only file system" in refused.stderr, (image, directory, refused)
        for directory in ("/workspace", "/tmp", home, "/dev/shm"):
            assert box.sh(f"echo x > {directory}/new && cat {directory}/new").text == "x\n", (image, directory)
        assert not box.sh("rm /etc/passwd || echo x > /etc/passwd || chmod 777 /etc/passwd").ok
    root = make_box(user="root")
    assert root.sh("echo x > /etc/new && echo y > /new && cat /etc/new /new").text == "x\ny\n"


def test_read_only_root(make_box: Callable[..., Sandbox], rootfs: Path) -> None:
    """Nothing but the workdir and tmpfs mounts can be written, on every kind of image."""
    for image in ("host", f"dir:{rootfs}"):
        box = make_box(image=image, read_only=True, tmpfs={"/scratch": "size=1m,mode=700"})
        for directory in ("/", "/etc", "/tmp", "/var", "/home", "/.samebox"):
            refused = box.sh(f"echo x > {directory}/new")
            assert b"Read-only file system" in refused.stderr, (image, directory, refused)
        assert box.sh("echo a > a && echo b > /scratch/b && cat a /scratch/b").text == "a\nb\n"


def test_no_descriptor_leaks_in(box: Sandbox) -> None:
    """A command has 0, 1 and 2; what this process has open stays outside."""
    assert box.sh("ls /proc/$$/fd").text.split() == ["0", "1", "2"]


def test_nested_user_namespaces_are_refused(box: Sandbox) -> None:
    """unshare(1) fails, by the filter and by the kernel's own count."""
    result = box.exec(["unshare", "--user", "--map-root-user", "true"])
    assert not result.ok
    assert b"Operation not permitted" in result.stderr
