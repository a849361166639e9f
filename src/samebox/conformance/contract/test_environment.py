"""What a command finds around it: environment, cwd, user, umask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, ORDINARY_USER, enforced, requires, verifies
from samebox.errors import ConfigError, PathNotADirectoryError, PathNotFoundError, PathPermissionError

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness
    from samebox.sandbox.sandbox import Sandbox

SECRET = "conformance-secret-5d1f"  # noqa: S105 - what is looked for where it must not be


def environment(box: Sandbox, **settings: object) -> dict[str, str]:
    """Return the environment that a command sees."""
    result = box.exec(["cat", "/proc/self/environ"], timeout=DEADLINE, **settings)  # type: ignore[arg-type]
    pairs = [entry.partition("=") for entry in result.text.split("\0") if entry]
    return {name: value for name, _, value in pairs}


def test_env_of_a_call(box: Sandbox) -> None:
    """`env` adds variables for one command, values passed exactly, and for no later one.

    Why: values with spaces, quotes, `=` or line ends break where they pass through a shell or a list of lines.
    Check: how the environment travels.
    """
    given = {"ONE": "a b", "TWO": "x=y=z", "THREE": "'\"$HOME`\n", "EMPTY": "", "UTF": "ä€"}
    seen = environment(box, env=given)
    assert {name: seen.get(name) for name in given} == given
    assert not given.keys() & environment(box).keys(), "a later command has them too"


@verifies("env")
def test_env_of_the_config(new_box: NewBox) -> None:
    """The config's `env` holds for every command, and a call's `env` comes before it.

    Why: in some engines an exec does not get the container's variables, or can't replace one.
    Check: the order in which the two are merged.
    """
    box = new_box(env={"SHARED": "config", "OTHER": "config"})
    seen = environment(box, env={"SHARED": "call"})
    assert (seen.get("SHARED"), seen.get("OTHER")) == ("call", "config"), sorted(seen)
    with box.spawn(["sh", "-c", "echo $SHARED"], timeout=DEADLINE) as process:
        assert process.stdout.readline() == b"config\n"


@verifies("env")
def test_env_is_not_in_the_engine(new_box: NewBox) -> None:
    """Values of `env` are not in any other process of the sandbox, nor in what the engine shows of it.

    Why: `docker inspect` shows a container's variables to everyone who may ask, and so does /proc/1/environ.
    Check: that the agent's client hands them over, and no engine call does.
    """
    box = new_box(env={"TOKEN": SECRET})
    assert environment(box)["TOKEN"] == SECRET
    # From a file, so that it isn't in the looking commands' own command lines; and unset, so not in their environment.
    box.write_text("needle", SECRET)
    script = (
        "unset TOKEN; for f in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do case $f in /proc/$$/*) continue;; esac;"
        " grep -l -f needle $f 2>/dev/null; done; echo looked"
    )
    found = box.exec(["env", "-u", "TOKEN", "sh", "-c", script], timeout=DEADLINE)
    assert found.stdout == b"looked\n", found
    assert SECRET not in repr(box.config)
    if box.engine is not None:
        assert SECRET not in repr(box.engine.inspect(box.id))


def test_env_may_be_large(box: Sandbox) -> None:
    """A hundred variables of ten kilobytes each are passed whole.

    Why: a frame or a buffer for "the environment" is sized for a usual one, and CI systems have others.
    Check: the largest frame that the host sends, and how the agent grows its buffer.
    """
    given = {f"LARGE_{n}": chr(ord("a") + n % 26) * 10_000 for n in range(100)}
    seen = environment(box, env=given)
    assert {name: seen.get(name) for name in given} == given, {name: len(value) for name, value in seen.items()}


@pytest.mark.parametrize(
    "env", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}, {"A\0": "x"}], ids=["empty", "equals", "nul", "nul-name"]
)
def test_wrong_env_is_refused(box: Sandbox, env: dict[str, str]) -> None:
    """A name that is empty or has `=`, or a NUL anywhere, is refused before anything runs.

    Why: the kernel takes them and the program sees another variable than was meant.
    Check: the check of names and values.
    """
    with pytest.raises(ValueError, match=r"env|name|NUL"):
        box.exec(["true"], env=env, timeout=DEADLINE)


def test_path_is_set(box: Sandbox) -> None:
    """PATH is set, and has directories with programs.

    Why: images FROM scratch, and execs that don't get the image's variables, have none, and `ls` is not found.
    Check: the agent's default.
    """
    path = environment(box).get("PATH", "")
    assert path, "there is no PATH"
    assert box.sh("command -v ls", timeout=DEADLINE).ok, path


def test_program_is_looked_up_in_the_commands_own_path(box: Sandbox, here: str) -> None:
    """A program is looked up in the PATH that the command gets.

    Why: execvp looks in the agent's own PATH, and `env={"PATH": ...}` finds another program than the command would.
    Check: whose PATH the lookup uses.
    """
    box.write_text(f"{here}/bin/samebox-own", "#!/bin/sh\necho found\n", mode=0o755)
    result = box.exec(["samebox-own"], env={"PATH": f"{here}/bin:/bin:/usr/bin"}, timeout=DEADLINE)
    assert (result.exit_code, result.stdout) == (0, b"found\n"), result


def test_home_is_set(box: Sandbox) -> None:
    """HOME is set, and is an absolute path.

    Why: without it git, pip and ssh fail in ways that have nothing to do with the task.
    Check: the agent's default, from the user's entry or the workdir.
    """
    assert environment(box).get("HOME", "").startswith("/"), environment(box).get("HOME")


@requires(Capability.USER)
def test_home_of_a_user_without_an_entry(user_box: Sandbox) -> None:
    """HOME is set also for a user id that the image does not know.

    Why: tools that expand `~` crash where getpwuid finds nothing and HOME is empty.
    Check: the agent's default.
    """
    assert environment(user_box).get("HOME", "").startswith("/"), environment(user_box).get("HOME")


@requires(Capability.USER)
@verifies("user")
def test_home_of_an_unknown_user_is_writable(new_box: NewBox) -> None:
    """A user id that the image does not know has a home that it may write to, and a name in USER.

    Why: engines give it `/`, where pip, npm and git can't write their caches and settings; and no name.
    Check: HOME and USER as the agent sets them, for `user=` and where it can be had for a call's `user`.
    """
    box = new_box(user="4321")
    said = box.sh('touch "$HOME/mark" && echo "$USER"', timeout=DEADLINE)
    # An engine may know whoever is asked for: then the name and home are those of the passwd file.
    assert said.ok, (said, environment(box))
    if box.sh("grep -q :4321: /etc/passwd", timeout=DEADLINE).exit_code:
        assert said.text == "4321\n", said


@requires(Capability.EXEC_USER)
def test_home_of_an_unknown_user_of_a_call_is_writable(new_box: NewBox) -> None:
    """A call's `user` whom the image does not know has a home that it may write to, though the workdir is another's.

    Why: engines give it `/`; the workdir belongs to the sandbox's own user, so it can't be the home either.
    Check: the directory that the agent makes for it.
    """
    said = new_box().sh('cd && touch mark && echo "$USER"', user="4321", timeout=DEADLINE)
    assert (said.ok, said.text) == (True, "4321\n"), said


def test_terminal_and_container_are_not_told(box: Sandbox) -> None:
    """Without a terminal there is no TERM, and `container` is not set.

    Why: one engine sets both for every command, and scripts that ask for them behave differently there.
    Check: what the engine puts into the environment of its own accord.
    """
    assert not {"TERM", "container"} & environment(box).keys(), environment(box)


def test_host_environment_stays_out(new_box: NewBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's variables are not in the sandbox.

    Why: engines that start a child process hand over the caller's environment: cloud keys and tokens.
    Check: what the engine gives the agent.
    """
    monkeypatch.setenv("SAMEBOX_CONFORMANCE_HOST", SECRET)
    box = new_box()
    assert "SAMEBOX_CONFORMANCE_HOST" not in environment(box)


def test_cwd_is_the_workdir(box: Sandbox) -> None:
    """A command runs in the workdir unless told otherwise, and relative paths of files start there.

    Why: an exec starts in `/` in one engine and in the image's WORKDIR in another.
    Check: that both channels use the same directory.
    """
    inside = box.exec(["pwd"], timeout=DEADLINE).text.strip()
    assert inside == box.realpath("."), inside
    box.write_text("cwd-mark", "x")
    assert box.exec(["cat", "cwd-mark"], timeout=DEADLINE).stdout == b"x"
    box.remove("cwd-mark")


@requires(Capability.ROOT_FILESYSTEM)
@verifies("workdir")
def test_workdir_is_the_configs(new_box: NewBox) -> None:
    """The workdir is the config's, is made if it is not there, and is /workspace by default.

    Why: an engine that ignores it, or fails because the image lacks it, breaks every relative path.
    Check: who makes the directory.
    """
    box = new_box()
    enforced(box, Capability.ROOT_FILESYSTEM)
    assert box.exec(["pwd"], timeout=DEADLINE).stdout == b"/workspace\n"
    other = new_box(workdir="/srv/deep/er")
    assert other.exec(["pwd"], timeout=DEADLINE).stdout == b"/srv/deep/er\n"
    other.write_text("x", "y")
    assert other.sh("cat /srv/deep/er/x", timeout=DEADLINE).stdout == b"y"


def test_cwd_of_a_call(box: Sandbox, here: str) -> None:
    """`cwd` is where the command runs, absolute or relative to the workdir.

    Why: relative to `/` or to the last command's directory, the same call means two things.
    Check: what a relative cwd is resolved against.
    """
    box.make_dir(f"{here}/a/b")
    name = here.rpartition("/")[2]
    assert box.exec(["pwd"], cwd=f"{here}/a", timeout=DEADLINE).text.strip() == f"{here}/a"
    assert box.exec(["pwd"], cwd=f"{name}/a/b", timeout=DEADLINE).text.strip() == f"{here}/a/b"


def test_cwd_is_forgotten(box: Sandbox, here: str) -> None:
    """What one command does to its directory, its variables or its umask is gone for the next.

    Why: a session that is kept alive behind `exec` carries state from one command to another.
    Check: that each command is a process of its own.
    """
    before = box.sh("pwd; umask", timeout=DEADLINE).stdout
    box.sh("cd /; umask 077; export LEFT=1", cwd=here, timeout=DEADLINE)
    after = box.sh("pwd; umask; echo ${LEFT:-}", timeout=DEADLINE).stdout
    assert after == before + b"\n", (before, after)


def test_missing_cwd_raises(box: Sandbox, here: str) -> None:
    """A cwd that is not there raises PathNotFoundError with its path; nothing runs.

    Why: the engines' errors for it differ, and some run the command in `/` instead.
    Check: what the agent answers when chdir fails.
    """
    with pytest.raises(PathNotFoundError) as caught:
        box.exec(["touch", f"{here}/ran"], cwd=f"{here}/none", timeout=DEADLINE)
    assert caught.value.filename == f"{here}/none"
    assert not box.exists(f"{here}/ran")


def test_cwd_that_is_a_file_raises(box: Sandbox, here: str) -> None:
    """A cwd that is a file raises PathNotADirectoryError.

    Why: some engines run the command in `/` then, where a relative `rm` does something else.
    Check: what the agent answers when chdir fails.
    """
    box.write_text(f"{here}/file", "")
    with pytest.raises(PathNotADirectoryError):
        box.exec(["true"], cwd=f"{here}/file", timeout=DEADLINE)


@requires(Capability.USER)
def test_cwd_without_permission_raises(user_box: Sandbox, here: str) -> None:
    """A cwd that the user may not enter raises PathPermissionError.

    Why: an agent that changes the directory as root lets the user in.
    Check: whose rights the chdir uses.
    """
    user_box.make_dir(f"{here}/closed", mode=0o000)
    with pytest.raises(PathPermissionError):
        user_box.exec(["true"], cwd=f"{here}/closed", timeout=DEADLINE)
    user_box.chmod(f"{here}/closed", 0o755)


@requires(Capability.USER)
@verifies("user")
def test_user_of_the_config(user_box: Sandbox) -> None:
    """Commands run as the config's user and group.

    Why: a file channel or an exec that runs as root instead makes every permission meaningless.
    Check: who the engine starts the agent as.
    """
    result = user_box.sh("id -u; id -g", timeout=DEADLINE)
    assert result.text.split() == ORDINARY_USER.split(":"), result


@requires(Capability.USER)
@verifies("user")
@pytest.mark.parametrize(
    ("user", "uid", "gid"), [("65533", "65533", None), ("65533:65532", "65533", "65532"), ("root", "0", "0")]
)
def test_spellings_of_the_user(new_box: NewBox, user: str, uid: str, gid: str | None) -> None:
    """A user is a name, a uid or uid:gid; the workdir is writable by each.

    Why: a uid alone becomes a name that nobody has, and a group is cut off.
    Check: who the commands run as, and who the workdir belongs to.
    """
    box = new_box(user=user)
    found = box.sh("id -u; id -g; echo x > file; stat -c %u file", timeout=DEADLINE)
    assert found.text.split() == [uid, gid or found.text.split()[1], uid], found


@requires(Capability.USER)
def test_user_has_no_other_groups(user_box: Sandbox) -> None:
    """A user that is given as uid:gid is in no further groups.

    Why: supplementary groups of root (disk, shadow, docker) stay with a process that only changes its uid.
    Check: setgroups on the way to the user.
    """
    result = user_box.exec(["grep", "^Groups:", "/proc/self/status"], timeout=DEADLINE)
    assert set(result.text.split()[1:]) <= {ORDINARY_USER.partition(":")[2]}, result


@requires(Capability.USER)
@verifies("workdir")
def test_workdir_is_writable_by_the_user(user_box: Sandbox, here: str) -> None:
    """The workdir is writable by the sandbox's user, for commands and for files.

    Why: a directory that the engine makes belongs to root, and with every capability dropped nobody can chown it.
    Check: the owner or mode of the workdir's mount.
    """
    user_box.write_text(f"{here}/by-files", "x")
    assert user_box.sh("echo y > by-exec; cat by-files", cwd=here, timeout=DEADLINE).stdout == b"x"
    assert user_box.read_text(f"{here}/by-exec") == "y\n"


@requires(Capability.USER)
@verifies("user")
def test_unknown_user_is_an_error(new_box: NewBox) -> None:
    """A user name that the image does not know is an error at the start, with the name in its text.

    Why: falling back to root is the worst answer, and a 500 of the daemon's API the second.
    Check: what the engine says, and how its error is turned into ours.
    """
    with pytest.raises(ConfigError, match=r"^wrong config: user: there is no user 'no-such-user' in the image's"):
        new_box(user="no-such-user").exec(["id"], timeout=DEADLINE)
    with pytest.raises(ConfigError, match=r"^wrong config: user: there is no group 'no-such-group' in the image's"):
        new_box(user="1000:no-such-group").exec(["id"], timeout=DEADLINE)


@requires(Capability.EXEC_USER)
def test_unknown_user_of_a_call_is_an_error(box: Sandbox) -> None:
    """A call's `user` that the image does not know is the same error, and hurts no other command.

    Why: engines say so after the stream stands, and it looks like a connection that broke.
    Check: the words that come beside the stream.
    """
    with pytest.raises(ConfigError, match=r"^wrong config: user: there is no user 'no-such-user' in the image's"):
        box.exec(["true"], user="no-such-user", timeout=DEADLINE)
    assert box.exec(["true"], timeout=DEADLINE).ok


@verifies("workdir")
def test_file_at_the_workdir_is_an_error(new_box: NewBox) -> None:
    """A workdir that is a file, or below one, is an error at the start that names it.

    Why: engines fail with words of their mounts, in errors of each kind, and one with paths of its store.
    Check: who looks at what is there.
    """
    for path in ("/etc/passwd", "/etc/passwd/below"):
        with pytest.raises(ConfigError, match=f"^wrong config: workdir = '{path}': something that is no directory"):
            new_box(workdir=path)


@requires(Capability.EXEC_USER)
def test_user_of_a_call(box: Sandbox) -> None:
    """`user` runs one command as another user.

    Why: set-up needs root where the task must not have it.
    Check: that a connection per user is opened.
    """
    assert box.exec(["id", "-u"], user="65533", timeout=DEADLINE).text.strip() == "65533"
    own = box.exec(["id", "-u"], timeout=DEADLINE).text.strip()
    assert own != "65533", "the next command runs as that user too"


def test_own_user_may_be_named(new_box: NewBox) -> None:
    """A call may name the sandbox's own user, by uid, by uid and gid or by name, also where there is no other.

    Why: code that names the user in each call fails on an engine of one user, which is the one that it names.
    Check: what the agent says of itself before the engine is asked for another user.
    """
    box = new_box()
    uid, gid = box.sh("id -u; id -g", timeout=DEADLINE).text.split()
    known = dict(line.split(":")[2::-2] for line in box.read_text("/etc/passwd").splitlines() if line.count(":") == 6)
    for user in (uid, f"{uid}:{gid}", *([known[uid]] if uid in known else [])):
        assert box.exec(["id", "-u"], user=user, timeout=DEADLINE).text.strip() == uid, user
        with box.spawn(["id", "-u"], user=user) as process:
            assert process.stdout.read(timeout=DEADLINE).decode().strip() == uid, user


def test_user_of_a_call_is_spelt_as_one(box: Sandbox) -> None:
    """What is no user's name is refused before anything runs, in one way on every engine.

    Why: an empty name is the image's user on one engine, and others answer with their daemons' words.
    Check: the guest's check of its arguments.
    """
    users: tuple[Any, ...] = ("", "a b", "a:b:c", "-x", 5)
    for user in users:
        for call in (box.exec, box.spawn):
            with pytest.raises(ValueError, match=r"^user is a name, a uid or uid:gid as a text, or None for the"):
                call(["touch", "ran"], user=user)
    assert not box.exists("ran")


def test_umask_is_the_usual_one(box: Sandbox, here: str) -> None:
    """The umask is 022: a file that a command makes can be read by all and written by its owner.

    Why: an engine's daemon may run with 077 or 0, and files are unreadable for the next user or open to all.
    Check: what the agent sets.
    """
    box.sh("touch file; mkdir dir", cwd=here, timeout=DEADLINE)
    assert (box.stat(f"{here}/file").mode, box.stat(f"{here}/dir").mode) == (0o644, 0o755)


def test_shell_is_found_without_env(box: Sandbox) -> None:
    """A command runs with an empty addition to its environment and no HOME of its own.

    Why: `env={}` is not `env=None` in code that replaces the environment instead of adding to it.
    Check: how an empty mapping is treated.
    """
    assert box.sh("echo ok; ls / > /dev/null", env={}, timeout=DEADLINE).stdout == b"ok\n"


@requires(Capability.HOSTNAME)
@verifies("hostname")
def test_hostname_is_the_configs(new_box: NewBox) -> None:
    """`hostname` is the name that the sandbox sees.

    Why: programs that write their host's name into locks and logs need a stable one.
    Check: the UTS namespace.
    """
    box = new_box(hostname="conformance-host")
    assert box.exec(["cat", "/proc/sys/kernel/hostname"], timeout=DEADLINE).stdout == b"conformance-host\n"


def test_processors_can_be_counted(box: Sandbox) -> None:
    """/sys/devices/system/cpu tells how many processors there are, a directory for each.

    Why: lscpu, `nproc --all`, C libraries and Java's virtual machine look there, and fail or take one without it.
    Check: what of /sys is mounted.
    """
    script = "cd /sys/devices/system/cpu && cat online possible && ls -d cpu[0-9]*"
    online, possible, *directories = box.sh(script, timeout=DEADLINE).text.splitlines()
    processors = {number for part in online.split(",") for number in _numbers(part)}
    assert processors
    assert processors <= {number for part in possible.split(",") for number in _numbers(part)}
    assert {f"cpu{number}" for number in processors} <= set(directories)


def _numbers(part: str) -> range:
    """Return the numbers of a part of a list of processors, as "0-3" or "5"."""
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


@requires(Capability.CONTAINER_IMAGE)
@verifies("image")
def test_container_image_runs(new_box: NewBox, harness: Harness) -> None:
    """`image` runs a container image by its name.

    Why: it is what a container engine is for; the name must not be taken for a path.
    Check: how the engine resolves the name.
    """
    box = new_box(image=harness.container_image)
    assert box.sh("test -e /etc/passwd && echo has files", timeout=DEADLINE).stdout == b"has files\n"


@requires(Capability.HOST_IMAGE)
@verifies("image")
def test_host_image_runs_the_hosts_programs(new_box: NewBox) -> None:
    """`image="host"` runs on the programs of the host.

    Why: an embedded engine has no registry to fetch a shell from.
    Check: what is mounted from the host.
    """
    box = new_box(image="host")
    assert box.sh("echo $((6 * 7)); ls /usr/bin | head -n 1 | wc -l", timeout=DEADLINE).stdout == b"42\n1\n"
