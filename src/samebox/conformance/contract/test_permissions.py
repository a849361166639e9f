"""Permissions, as a user who is not root, as most permissions mean nothing to root."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, ORDINARY_USER, requires
from samebox.errors import PathPermissionError, SandboxError, SandboxOSError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox.conformance.contract.conftest import NewBox
    from samebox.sandbox.sandbox import Sandbox

UID, _, GID = ORDINARY_USER.partition(":")


@requires(Capability.USER)
def test_new_files_belong_to_the_user(user_box: Sandbox, here: str, tmp_path: Path) -> None:
    """All that the file operations make belongs to the sandbox user: files, parents, copies, links, uploads.

    Why: put_archive makes root's files, which the user then can't change (docker-py #2577, moby #21651).
    Check: who the agent runs as.
    """
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    user_box.write_text(f"{here}/parent/file", "x")
    user_box.append(f"{here}/log", "x")
    user_box.make_dir(f"{here}/dir")
    user_box.copy(f"{here}/parent", f"{here}/copy")
    user_box.symlink("file", f"{here}/link")
    user_box.upload(tmp_path / "d", f"{here}/uploaded")
    seen = user_box.sh("find . -mindepth 1 -exec stat -c '%u:%g' {} + | sort -u", cwd=here, timeout=DEADLINE)
    assert seen.stdout.strip().decode() == ORDINARY_USER, seen


@requires(Capability.USER, Capability.ROOT_FILESYSTEM)
def test_root_writes_in_the_root_directory(new_box: NewBox) -> None:
    """Root makes files and directories in `/`, by files and by commands, without a capability.

    Why: one engine makes the root directory 0555, which root without capabilities can't write to, and `mkdir /data`
    works on all engines but that.
    """
    box = new_box(user="0:0")
    box.make_dir("/made-by-files")
    box.exec(["mkdir", "/made-by-exec"], timeout=DEADLINE).check()
    assert box.exec(["stat", "-c", "%u", "/made-by-files", "/made-by-exec"], timeout=DEADLINE).text == "0\n0\n"


@requires(Capability.USER)
def test_files_act_with_the_users_rights(user_box: Sandbox) -> None:
    """The file operations can do what the user can do and nothing more.

    Why: a file channel that works as root is a hole through which the guest's user reads and writes everything.
    Check: who the agent runs as.
    """
    attempts: dict[str, Callable[[], object]] = {
        "write": lambda: user_box.write_text("/etc/samebox-was-here", "x"),
        "make_dir": lambda: user_box.make_dir("/samebox-was-here"),
        "remove": lambda: user_box.remove("/etc/passwd"),
        "move": lambda: user_box.move("/etc/passwd", "/etc/passwd2"),
        "chmod": lambda: user_box.chmod("/etc/passwd", 0o777),
        "symlink": lambda: user_box.symlink("x", "/etc/samebox-link"),
        "append": lambda: user_box.append("/etc/passwd", "x"),
    }
    for name, attempt in attempts.items():
        with pytest.raises(SandboxOSError) as caught:
            attempt()
        assert caught.value.errno in {errno.EACCES, errno.EPERM, errno.EROFS}, (name, caught.value)


@requires(Capability.USER)
def test_unreadable_file_raises(user_box: Sandbox, here: str) -> None:
    """Reading a file without the right to raises PathPermissionError, which is a PermissionError.

    Why: an empty result or "not found" hides what is wrong.
    Check: how the agent's errno is turned into an error.
    """
    user_box.sh("echo x > secret; chmod 000 secret", cwd=here, timeout=DEADLINE)
    with pytest.raises(PathPermissionError) as caught:
        user_box.read_bytes(f"{here}/secret")
    error = caught.value
    assert isinstance(error, PermissionError)
    assert isinstance(error, SandboxError)
    assert (error.errno, error.filename) == (errno.EACCES, f"{here}/secret")


@requires(Capability.USER)
def test_read_only_file_is_not_replaced(user_box: Sandbox, here: str) -> None:
    """A file that the user may not write is not replaced, though its directory would allow that.

    Why: a temporary file and a rename get round the mode: a guard against accidents is gone without a word.
    Check: that the right to write is asked for before the rename.
    """
    user_box.sh("echo old > file; chmod 444 file", cwd=here, timeout=DEADLINE)
    for call in (user_box.write_text, user_box.append):
        with pytest.raises(PathPermissionError):
            call(f"{here}/file", "new")
    assert user_box.sh("cat file; ls -A", cwd=here, timeout=DEADLINE).stdout == b"old\nfile\n"


@requires(Capability.USER)
def test_write_where_no_temporary_file_may_be(user_box: Sandbox, here: str) -> None:
    """A writable file in a directory that is not writable is written in place.

    Why: insisting on a temporary file fails where any editor would succeed: bind-mounted files, /dev/shm, spools.
    Check: the way back to writing in place.
    """
    user_box.sh("mkdir d; echo old content > d/file; chmod 555 d", cwd=here, timeout=DEADLINE)
    user_box.write_text(f"{here}/d/file", "new")
    assert user_box.sh("cat d/file; ls -A d; chmod 755 d", cwd=here, timeout=DEADLINE).stdout == b"newfile\n"


@requires(Capability.USER)
def test_unwritable_directory_raises(user_box: Sandbox, here: str) -> None:
    """Making, removing and renaming in a directory without the right to raises PathPermissionError.

    Why: engines that work as root ignore a directory's mode, and undo what its owner meant by it.
    Check: who the agent runs as, and how its errno is turned into an error.
    """
    user_box.sh("mkdir d; echo x > d/file; chmod 555 d", cwd=here, timeout=DEADLINE)
    for call in (
        lambda: user_box.write_text(f"{here}/d/new", "x"),
        lambda: user_box.remove(f"{here}/d/file"),
        lambda: user_box.move(f"{here}/d/file", f"{here}/moved"),
        lambda: user_box.make_dir(f"{here}/d/sub"),
        lambda: user_box.symlink("x", f"{here}/d/link"),
    ):
        with pytest.raises(PathPermissionError):
            call()
    assert user_box.sh("cat d/file; ls -A d; chmod 755 d", cwd=here, timeout=DEADLINE).stdout == b"x\nfile\n"


@requires(Capability.USER)
def test_failed_replacement_keeps_the_old_file(user_box: Sandbox, here: str) -> None:
    """A tree that can't be copied whole raises, and says where.

    Why: a copy that passes over what it can't read looks complete.
    Check: the errors of the copy's walk.
    """
    user_box.sh("mkdir -p t/closed; echo x > t/a; echo y > t/closed/b; chmod 000 t/closed", cwd=here, timeout=DEADLINE)
    with pytest.raises(PathPermissionError) as caught:
        user_box.copy(f"{here}/t", f"{here}/u")
    user_box.chmod(f"{here}/t/closed", 0o755)
    assert "closed" in str(caught.value.filename), caught.value


@requires(Capability.USER)
def test_setuid_is_kept_by_no_write(user_box: Sandbox, here: str) -> None:
    """Writing a setuid file anew does not make the new content setuid behind the user's back.

    Why: the kernel takes the bit off on a write; a temporary file that copies the mode puts it back on.
    Check: which mode bits the temporary file gets.
    """
    user_box.sh("echo old > file; chmod 4755 file", cwd=here, timeout=DEADLINE)
    user_box.write_text(f"{here}/file", "new")
    mode = user_box.exec(["stat", "-c", "%a", f"{here}/file"], timeout=DEADLINE).text.strip()
    assert mode in {"755", "4755"}, mode
    plain = user_box.sh("echo shell > other; chmod 4755 other; echo more >> other; stat -c %a other", cwd=here)
    assert mode == plain.text.strip(), f"a write by files leaves {mode}, one by the shell {plain.text.strip()}"


@requires(Capability.USER, Capability.READ_ONLY_ROOT)
def test_user_and_read_only_root_together(new_box: NewBox) -> None:
    """A user who is not root has a writable workdir under a read-only root too.

    Why: the tmpfs that takes the workdir's place belongs to root, and nothing can be written at all.
    Check: the mode or owner of that tmpfs.
    """
    box = new_box(user=ORDINARY_USER, read_only=True)
    box.write_text("file", "x")
    assert box.sh("id -u; cat file; echo y > other; cat other", timeout=DEADLINE).text.split() == [UID, "xy"]


@requires(Capability.USER)
def test_agent_runs_as_the_user_for_files_too(user_box: Sandbox, here: str) -> None:
    """What `stat` says of a new file's owner is the user that commands run as.

    Why: with user namespaces the same file has other numbers on the host, and some engines report those.
    Check: that both are asked inside.
    """
    user_box.write_text(f"{here}/file", "x")
    info = user_box.stat(f"{here}/file")
    assert (str(info.uid), str(info.gid)) == (UID, GID)
