"""Mounts: directories of the host, named volumes, devices."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, ORDINARY_USER, enforced, requires, verifies
from samebox.conformance.contract.system_calls import DATA, Call, program, results
from samebox.engine.registry import make_engine
from samebox.errors import ConfigError, SandboxError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness


@pytest.fixture
def shared_dir() -> Iterator[Path]:
    """A directory of this host that every user may read and write, as an engine of another user has to."""
    path = Path(tempfile.mkdtemp(prefix="samebox-conformance-"))
    path.chmod(0o777)
    (path / "mark").write_text("of the host")
    (path / "mark").chmod(0o666)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def volume(harness: Harness) -> Iterator[str]:
    """A name for a volume that is removed at the end. Asked for before `new_box`, whose sandboxes have to go first."""
    name = f"samebox-conf-{secrets.token_hex(6)}"
    yield name
    engine = make_engine(harness.engine, harness.options)
    with contextlib.suppress(SandboxError):
        engine.remove_volume(name)
    engine.close()


@requires(Capability.BIND_MOUNTS)
@verifies("mounts")
def test_bind_mount_is_the_hosts_directory(new_box: NewBox, shared_dir: Path) -> None:
    """A bind mount shows the host's directory, and what is written goes there, by commands and by files.

    Why: with SELinux or user namespaces it is there and can't be read; archive calls write beneath it.
    Check: the mount, its owner and its label.
    """
    box = new_box(mounts=[f"{shared_dir}:/mnt/shared"])
    assert box.exec(["cat", "/mnt/shared/mark"], timeout=DEADLINE).stdout == b"of the host"
    box.write_text("/mnt/shared/by-files", "f")
    box.sh("echo e > /mnt/shared/by-exec", timeout=DEADLINE).check()
    assert ((shared_dir / "by-files").read_text(), (shared_dir / "by-exec").read_text()) == ("f", "e\n")


@requires(Capability.BIND_MOUNTS)
@verifies("mounts")
def test_source_is_no_link_of_a_sandbox(new_box: NewBox, shared_dir: Path) -> None:
    """A bind mount whose source goes through a link that a sandbox could have made is refused, unless it is asked for.

    Why: one sandbox leaves a link in the directory that it may write, and the next one is given what the link names.
    Check: `samebox.engine.bind_sources.check_sources` before the sandbox is made.
    """
    aim = shared_dir / "aim"
    (aim / "below").mkdir(parents=True)
    (aim / "below" / "mark").write_text("aim")
    with new_box(mounts=[f"{shared_dir}:/mnt/shared"]) as box:
        box.exec(["ln", "-s", str(aim), "/mnt/shared/planted"], timeout=DEADLINE).check()
    source = shared_dir / "planted" / "below"
    told = f"goes through the link '{shared_dir}/planted', which a sandbox could have made; give its real path"
    with pytest.raises(ConfigError, match=re.escape(told)):
        new_box(mounts=[f"{source}:/mnt/aim:ro"]).exec(["true"], timeout=DEADLINE)
    trusting = new_box(mounts=[f"{source}:/mnt/aim:ro,follow"])
    assert trusting.read_text("/mnt/aim/mark") == "aim"


@requires(Capability.BIND_MOUNTS)
@verifies("mounts")
def test_read_only_mount_refuses_writes(new_box: NewBox, shared_dir: Path) -> None:
    """A mount with `ro` refuses writes with EROFS, and can be read.

    Why: an option that is dropped makes the host's files the guest's.
    Check: the mount's flags.
    """
    box = new_box(mounts=[f"{shared_dir}:/mnt/shared:ro"])
    assert box.read_text("/mnt/shared/mark") == "of the host"
    with pytest.raises(OSError, match=r".") as caught:
        box.write_text("/mnt/shared/mark", "changed")
    assert caught.value.errno == 30, caught.value
    assert not box.sh("echo x > /mnt/shared/new", timeout=DEADLINE).ok
    assert [path.name for path in shared_dir.iterdir()] == ["mark"]
    assert (shared_dir / "mark").read_text() == "of the host"


@requires(Capability.BIND_MOUNTS, Capability.USER)
@verifies("mounts", "user")
@pytest.mark.parametrize("user", ["0", ORDINARY_USER])
def test_what_is_written_is_the_writers(new_box: NewBox, shared_dir: Path, user: str) -> None:
    """What a user writes in a directory of the host belongs to that user inside, who may change and remove it.

    Why: where ids are mapped, a wrong map makes one's own files nobody's, or another's whom they are open to.
    Check: the owners of the mount, in its user namespace or its map.
    """
    box = new_box(mounts=[f"{shared_dir}:/mnt/shared"], user=user)
    box.write_text("/mnt/shared/by-files", "f")
    box.sh(
        "cd /mnt/shared && umask 077 && mkdir dir && echo e > dir/by-exec && ln -s dir link", timeout=DEADLINE
    ).check()
    owners = {
        path: (found.uid, found.gid)
        for path in ("by-files", "dir", "dir/by-exec")
        for found in [box.stat(f"/mnt/shared/{path}")]
    }
    own = tuple(int(box.exec(["id", option], timeout=DEADLINE).text) for option in ("-u", "-g"))
    assert owners == dict.fromkeys(owners, own)
    box.sh(
        "cd /mnt/shared && chmod 600 by-files && cat dir/by-exec && rm -r dir link by-files", timeout=DEADLINE
    ).check()
    assert [path.name for path in shared_dir.iterdir()] == ["mark"]


@requires(Capability.BIND_MOUNTS, Capability.SECCOMP)
@verifies("mounts")
def test_no_setuid_file_is_left_on_the_host(new_box: NewBox, shared_dir: Path) -> None:
    """Nobody in a sandbox can make a setuid or setgid file where the host sees it.

    Why: root in a sandbox may be root on the host, and a setuid program in a shared directory then gives the host's
    root to every user there.
    Check: chmod(2) and its relatives, and the modes of openat(2) and mknodat(2), in a bind mount; the file's mode here.
    """
    box = new_box(mounts=[f"{shared_dir}:/mnt/shared"])
    enforced(box, Capability.SECCOMP)
    box.sh("cd /mnt/shared || exit; touch a b; chmod 4755 a; chmod g+s b; umask 0; mkdir -m 2755 c", timeout=DEADLINE)
    paths = b"".join(f"/mnt/shared/{name}".encode().ljust(32, b"\0") for name in "defg")
    at = [DATA + 32 * number for number in range(4)]
    how = DATA + len(paths)
    calls = [
        Call(257, 56, (-100, at[0], 0o102, 0o4755)),
        Call(259, 33, (-100, at[1], 0o104755, 0)),
        Call(257, 56, (-100, at[2], 0o102, 0o755)),
        Call(452, 452, (-100, at[2], 0o4755, 0)),
        Call(437, 437, (-100, at[3], how, 24)),
    ]
    machine = box.exec(["uname", "-m"], timeout=DEADLINE).text.strip()
    box.write_bytes("./calls", program(calls, machine, paths + struct.pack("<3Q", 0o102, 0o4755, 0)), mode=0o755)
    answers = results(box.exec(["./calls"], timeout=DEADLINE).check().stdout)
    modes = {each.name: oct(each.stat().st_mode) for each in shared_dir.iterdir()}
    assert {name for name, mode in modes.items() if int(mode, 8) & 0o6000} == set(), modes
    assert answers[2] >= 0, f"an ordinary file could not be made: {answers}"
    assert "f" in modes, modes


@requires(Capability.BIND_MOUNTS)
@verifies("mounts")
def test_mounted_file_is_written_in_place(new_box: NewBox, shared_dir: Path) -> None:
    """A single file that is mounted can be written, and stays the host's file.

    Why: a rename over a mount point says EBUSY, and a temporary file beside it lands elsewhere.
    Check: the way back to writing in place.
    """
    box = new_box(mounts=[f"{shared_dir}/mark:/mnt/one-file"])
    box.write_text("/mnt/one-file", "written inside")
    assert (shared_dir / "mark").read_text() == "written inside"


@requires(Capability.VOLUMES)
@verifies("mounts")
def test_volume_outlives_its_sandbox(volume: str, new_box: NewBox) -> None:
    """A named volume is made if it is absent, keeps its files, and is shared by sandboxes.

    Why: a volume that goes with its container is no volume.
    Check: removal of the sandbox, with `v=True` in the engine's call.
    """
    with new_box(mounts=[f"{volume}:/data"]) as first:
        first.write_text("/data/file", "kept")
    second = new_box(mounts=[f"{volume}:/data"])
    third = new_box(mounts=[f"{volume}:/data:ro"])
    assert second.exec(["cat", "/data/file"], timeout=DEADLINE).stdout == b"kept"
    second.write_text("/data/other", "shared")
    assert third.read_text("/data/other") == "shared"
    with pytest.raises(OSError, match=r".") as caught:
        third.write_text("/data/other", "x")
    assert caught.value.errno == 30, caught.value


@requires(Capability.VOLUMES)
def test_volume_is_listed_and_removed(volume: str, new_box: NewBox) -> None:
    """A volume is listed as samebox's own, and can be removed once nothing uses it.

    Why: volumes without an owner are never deleted by anyone.
    Check: the volume's labels.
    """
    box = new_box(mounts=[f"{volume}:/data"])
    engine = box.engine
    assert engine is not None
    assert volume in {status.name for status in engine.volumes()}
    box.close()
    engine.remove_volume(volume)
    assert volume not in {status.name for status in engine.volumes()}
    engine.remove_volume(volume)


@requires(Capability.VOLUMES)
@verifies("volumes_remove")
def test_volumes_can_go_with_the_sandbox(volume: str, new_box: NewBox) -> None:
    """With `volumes_remove` the named volumes are deleted on exit.

    Why: a scratch volume for each job fills the disk.
    Check: the order of removal.
    """
    box = new_box(mounts=[f"{volume}:/data"], volumes_remove=True)
    engine = box.engine
    assert engine is not None
    box.write_text("/data/file", "x")
    box.close()
    assert volume not in {status.name for status in engine.volumes()}


@requires(Capability.VOLUMES, Capability.USER)
@verifies("mounts", "workdir")
@pytest.mark.parametrize("target", ["/workspace", "/workspace/cache"])
def test_workdir_beside_volumes(volume: str, new_box: NewBox, target: str) -> None:
    """The workdir is writable by a user who is not root also where a volume of root's is mounted there or below.

    Why: the engine makes the directories of mounts as root, and a volume belongs to who used it first.
    Check: who owns the workdir, with the volume mounted.
    """
    with new_box(mounts=[f"{volume}:/first"]) as first:
        first.write_text("/first/of-root", "x")
    box = new_box(mounts=[f"{volume}:{target}"], workdir="/workspace", user=ORDINARY_USER)
    box.write_text("file", "x")
    assert box.exec(["cat", "file"], timeout=DEADLINE).stdout == b"x"
    assert box.read_text(f"{target}/of-root") == "x"


@requires(Capability.VOLUMES, Capability.USER)
@verifies("mounts", "user")
def test_new_volume_is_the_users(volume: str, new_box: NewBox) -> None:
    """A named volume that is made with the sandbox may be written by the sandbox's user.

    Why: some engines give it to root, and a user who is not root has a volume that nobody can write to.
    Check: the owner of the volume's directory at the first start.
    """
    box = new_box(mounts=[f"{volume}:/samebox-data"], user=ORDINARY_USER)
    assert box.sh("echo x > /samebox-data/file && cat /samebox-data/file", timeout=DEADLINE).stdout == b"x\n"


@requires(Capability.BIND_MOUNTS)
@verifies("mounts")
def test_missing_source_is_an_error(shared_dir: Path, new_box: NewBox) -> None:
    """A bind mount's source that is not there is an error at the start that names it, and nothing is made there.

    Why: an engine that makes the directory, as root, hides a mistake in a path; the others have each their own error.
    Check: who looks at the source, and how the engine's error is turned into ours.
    """
    source = f"{shared_dir}/absent"
    with pytest.raises(ConfigError, match=f"^wrong config: mounts: the source '{source}' can't be used"):
        new_box(mounts=[f"{source}:/mnt"])
    assert [path.name for path in shared_dir.iterdir()] == ["mark"]


@requires(Capability.VOLUMES, Capability.USER)
def test_failed_start_leaves_no_volume(volume: str, new_box: NewBox, harness: Harness) -> None:
    """A sandbox that can't be started leaves no volume that was not there before.

    Why: a mistake in a config, tried again and again, fills the list of volumes.
    Check: what is made before the engine refuses.
    """
    with pytest.raises(SandboxError):
        new_box(mounts=[f"{volume}:/data"], user="no-such-user").exec(["true"], timeout=DEADLINE)
    engine = make_engine(harness.engine, harness.options)
    assert volume not in {status.name for status in engine.volumes()}
    engine.close()


@requires(Capability.DEVICES)
@verifies("devices")
def test_device_is_given(new_box: NewBox) -> None:
    """A device of the host is there under the path that was asked for.

    Why: the three spellings of a device differ between clients, and a wrong one is dropped.
    Check: the node inside, by its numbers.
    """
    box = new_box(devices=["/dev/null:/dev/conformance-null"])
    assert box.stat("/dev/conformance-null").type == "char"
    assert box.sh("echo x > /dev/conformance-null", timeout=DEADLINE).ok


@requires(Capability.GPUS)
@verifies("gpus")
def test_gpus_are_given(new_box: NewBox) -> None:
    """`gpus=["all"]` gives the host's GPUs.

    Why: a request that is dropped falls back to the processor, and nobody notices but the clock.
    Check: the device nodes inside.
    """
    box = new_box(gpus=["all"])
    assert box.sh("ls /dev/nvidia0 /dev/dri/renderD128 /dev/kfd 2>/dev/null | grep -c .", timeout=DEADLINE).ok


def test_volumes_or_refusal(harness: Harness) -> None:
    """An engine that claims no volumes refuses to list or remove any with UnsupportedError.

    Why: an empty list says that there is nothing to clean up.
    Check: the engine's own methods.
    """
    engine = make_engine(harness.engine, harness.options)
    try:
        if Capability.VOLUMES in harness.claimed:
            assert isinstance(list(engine.volumes()), list)
        else:
            with pytest.raises(UnsupportedError):
                engine.volumes()
            with pytest.raises(UnsupportedError):
                engine.remove_volume("none")
    finally:
        engine.close()
