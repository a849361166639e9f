"""Limits: of output, files, memory, processes and processor time."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, enforced, requires, verifies
from samebox.errors import FileTooLargeError, SandboxError, SpawnError, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from samebox.conformance.contract.conftest import NewBox
    from samebox.guest.process import Process
    from samebox.sandbox.sandbox import Sandbox


def test_output_over_the_limit_keeps_both_ends(box: Sandbox) -> None:
    """Output over `output_limit` keeps its beginning and its end, says so, and lets the command finish.

    Why: the error is at the end and the cause at the beginning; cutting one of them hides it.
    Check: what the host's side keeps.
    """
    result = box.exec(["seq", "1", "200000"], output_limit=10_000, timeout=DEADLINE)
    assert (result.exit_code, result.truncated) == (0, True), result.exit_code
    assert result.stdout.startswith(b"1\n2\n3\n"), result.stdout[:40]
    assert result.stdout.endswith(b"199999\n200000\n"), result.stdout[-40:]
    assert len(result.stdout) <= 10_200, len(result.stdout)


def test_output_of_exactly_the_limit_is_whole(box: Sandbox) -> None:
    """Output of exactly the limit is whole and not `truncated`; one byte more is.

    Why: off by one, a result is marked that lacks nothing, or lacks a byte that nobody is told of.
    Check: the comparison.
    """
    for size, cut in ((4096, False), (4097, True)):
        result = box.exec(["head", "-c", str(size), "/dev/zero"], output_limit=4096, timeout=DEADLINE)
        assert (result.exit_code, result.truncated) == (0, cut), (size, result.stderr)
    whole = box.exec(["seq", "1", "1000"], output_limit=3893, timeout=DEADLINE)
    assert (whole.truncated, len(whole.stdout)) == (False, 3893)


def test_output_limit_is_per_stream(box: Sandbox) -> None:
    """Each stream has the limit for itself: a flood on one leaves the other whole.

    Why: a noisy stderr must not push the result out of stdout.
    Check: a collector for each channel.
    """
    result = box.sh("head -c 300000 /dev/zero >&2; echo result", output_limit=4096, timeout=DEADLINE)
    assert (result.stdout, result.truncated, len(result.stderr) <= 4300) == (b"result\n", True, True)


@verifies("output_limit", "file_limit")
def test_output_limit_of_the_config(new_box: NewBox) -> None:
    """The config's `output_limit` and `file_limit` hold where a call gives none, and a call's comes before them.

    Why: a limit that only one of two ways in keeps is none.
    Check: where the defaults are taken.
    """
    box = new_box(output_limit="1k", file_limit="2k")
    assert box.exec(["head", "-c", "1025", "/dev/zero"], timeout=DEADLINE).truncated
    assert not box.exec(["head", "-c", "1025", "/dev/zero"], output_limit=2000, timeout=DEADLINE).truncated
    box.sh("head -c 2049 /dev/zero > file", timeout=DEADLINE)
    with pytest.raises(FileTooLargeError):
        box.read_bytes("file")
    assert len(box.read_bytes("file", limit=3000)) == 2049


def test_flood_costs_bounded_memory(box: Sandbox) -> None:
    """A command that writes 160 MB costs the host no more memory than its limit and some buffers.

    Why: reading all and cutting then takes the host down; `out += chunk` takes its processor as well.
    Check: what is kept while reading.
    """
    box.exec(["head", "-c", "10000000", "/dev/zero"], output_limit=1 << 20, timeout=DEADLINE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = box.exec(["head", "-c", "160000000", "/dev/zero"], output_limit=1 << 20, timeout=60)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (result.exit_code, result.truncated) == (0, True)
    assert grown < 48, f"the host's process has grown by {grown:.0f} MiB"


def test_listing_is_bounded(box: Sandbox, here: str, tmp_path: Path) -> None:
    """A download over its limit raises, and leaves no half file.

    Why: a sparse file of a terabyte costs the guest nothing and fills the host's disk.
    Check: that what comes is counted.
    """
    box.sh("dd if=/dev/zero of=sparse bs=1 count=1 seek=9999999999999 2>/dev/null || truncate -s 9T sparse", cwd=here)
    size = box.stat(f"{here}/sparse").size
    assert size > 1 << 42, f"the sparse file has {size} bytes"
    with pytest.raises(SandboxError, match=r"limit|large"):
        box.download(f"{here}/sparse", tmp_path / "sparse")
    assert list(tmp_path.iterdir()) == []


@requires(Capability.PIDS_LIMIT)
@verifies("pids_limit")
def test_pids_limit_is_the_configs(new_box: NewBox) -> None:
    """`pids_limit` limits the processes of the sandbox together.

    Why: a fork bomb takes the host; and a limit that the engine drops is found by the bomb.
    Check: pids.max of the sandbox's cgroup.
    """
    box = new_box(pids_limit=40)
    # A bounded number, so that an engine that does not keep the limit is found and no host is harmed.
    script = "i=0; while [ $i -lt 120 ]; do sleep 300 & i=$((i+1)); done; wait"
    with box.spawn(["sh", "-c", script], stdin=False, timeout=DEADLINE) as process:
        said = process.stderr.readline() or b""
        assert b"fork" in said.lower(), f"120 processes could be started at a limit of 40; stderr: {said!r}"


@requires(Capability.PIDS_LIMIT)
def test_exhausted_pids_are_an_error_of_their_own(new_box: NewBox) -> None:
    """When no process can be made, a command raises SpawnError; files go on, and so do commands when there is room.

    Why: "fork: resource temporarily unavailable" on the engine's side looks like a broken sandbox.
    Check: what the agent says when fork fails, and that it needs no process for a read.
    """
    box = new_box(pids_limit=40)
    box.write_text("file", "x")
    running: list[Process] = []

    def fill() -> None:
        for _ in range(60):
            running.append(box.spawn(["sleep", "300"], stdin=False))  # noqa: PERF401 - kept when one fails

    with pytest.raises(SpawnError) as caught:
        fill()
    assert isinstance(caught.value, OSError)
    with pytest.raises(SpawnError):
        box.exec(["true"], timeout=DEADLINE)
    assert box.read_text("file") == "x"
    box.write_text("other", "y")
    for process in running:
        process.kill()
        assert process.wait(DEADLINE).signal == "SIGKILL"
    assert box.exec(["cat", "other"], timeout=DEADLINE).stdout == b"y"


@requires(Capability.PIDS_LIMIT)
@verifies("pids_limit")
def test_pids_limit_by_default(new_box: NewBox) -> None:
    """There is a limit on processes by default: seven hundred can't run at once.

    Why: the one hardening that every engine leaves off by default, and the oldest way to stop a host.
    Check: pids.max of the sandbox's cgroup.
    """
    box = new_box()
    enforced(box, Capability.PIDS_LIMIT)
    script = "i=0; while [ $i -lt 700 ]; do sleep 300 & i=$((i+1)); done; echo all >&2; wait"
    with box.spawn(["sh", "-c", script], stdin=False, timeout=60) as process:
        said = process.stderr.readline()
        assert b"fork" in said.lower(), f"700 processes could be started; stderr: {said!r}"


@requires(Capability.MEMORY_LIMIT)
@verifies("memory")
def test_memory_limit_is_kept(new_box: NewBox) -> None:
    """A command that needs more than `memory` is ended; one that needs less is not.

    Why: a limit that is dropped on the way shows when the host swaps itself to death.
    Check: memory.max of the sandbox's cgroup, and the swap beside it.
    """
    box = new_box(memory="64m")
    small = box.exec(["dd", "if=/dev/zero", "of=/dev/null", "bs=16M", "count=1"], timeout=DEADLINE)
    assert small.exit_code == 0, small
    large = box.exec(["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"], timeout=60)
    assert large.exit_code != 0, large
    assert box.exec(["echo", "on"], timeout=DEADLINE).stdout == b"on\n"


@requires(Capability.MEMORY_LIMIT)
@verifies("memory")
def test_memory_of_all_counts_together(new_box: NewBox) -> None:
    """`memory` limits all that the sandbox uses together, its memory file systems included.

    Why: a limit per process (an rlimit) is passed by ten processes.
    Check: that it is a cgroup's.
    """
    box = new_box(memory="96m")
    # A shell that holds 25 MB in a variable: one fits, eight together do not.
    one = "v=$(head -c 25000000 /dev/zero | tr '\\0' x)"
    assert box.sh(f"{one}; echo $?", timeout=DEADLINE).stdout == b"0\n"
    script = 'i=0; while [ $i -lt 8 ]; do sh -c "$1; sleep 2; echo held" & i=$((i+1)); done; wait'
    result = box.exec(["sh", "-c", script, "sh", one], timeout=60)
    held = result.stdout.count(b"held")
    assert held < 8, f"eight processes of more than 25 MB each could run at a limit of 96 MiB: {result}"


@requires(Capability.CPU_LIMIT)
@verifies("cpus")
def test_cpu_limit_is_kept(new_box: NewBox) -> None:
    """`cpus` limits the processor time of the sandbox as a whole.

    Why: podman-py drops nano_cpus without a word.
    Check: cpu.max of the sandbox's cgroup.
    """
    box = new_box(cpus=0.25)
    script = (
        "i=0; while [ $i -lt 4 ]; do sh -c 'while :; do :; done' & p=\"$p $!\"; i=$((i+1)); done; sleep 2; "
        "for i in $p; do cut -d ' ' -f 14,15 /proc/$i/stat; done; kill -9 $p"
    )
    began = time.monotonic()
    result = box.sh(script, timeout=DEADLINE)
    wall = time.monotonic() - began
    ticks = [int(word) for word in result.stdout.split()]
    assert len(ticks) == 8, result
    used = sum(ticks) / 100
    assert used < wall * 0.25 + 0.6, f"{used:.2f} s of processor time in {wall:.2f} s at a limit of 0.25"


@requires(Capability.READ_ONLY_ROOT)
@verifies("read_only")
def test_read_only_root_refuses_writes(new_box: NewBox) -> None:
    """With `read_only` the root file system refuses writes, to commands and to files with EROFS.

    Why: put_archive on a read-only root fails in one engine and gets round it in another.
    Check: the mount's flags.
    """
    box = new_box(read_only=True)
    result = box.sh("echo x > /etc/samebox-new; echo x > /samebox-new", timeout=DEADLINE)
    assert result.exit_code != 0, result
    with pytest.raises(OSError, match=r".") as caught:
        box.write_text("/etc/samebox-new", "x")
    assert caught.value.errno == 30, caught.value
    assert not box.exists("/samebox-new")


@requires(Capability.READ_ONLY_ROOT)
@verifies("workdir", "read_only")
def test_read_only_root_leaves_the_workdir(new_box: NewBox) -> None:
    """Under a read-only root the workdir is there and writable, for commands and files.

    Why: archive calls see neither tmpfs nor volumes and refuse a read-only root (moby #22020).
    Check: the tmpfs at the workdir.
    """
    box = new_box(read_only=True, workdir="/srv/work")
    box.write_text("sub/file", "x")
    assert box.sh("pwd; cat sub/file; echo y > other", timeout=DEADLINE).stdout == b"/srv/work\nx"
    assert box.read_text("/srv/work/other") == "y\n"


@requires(Capability.TMPFS)
@verifies("tmpfs")
def test_tmpfs_is_mounted_as_asked(new_box: NewBox) -> None:
    """`tmpfs` mounts a memory file system with its size and mode, seen by commands and by files.

    Why: podman-py raises a TypeError, docker's archive calls write beneath it, and sizes are dropped.
    Check: /proc/mounts inside, and a write over the size.
    """
    box = new_box(tmpfs={"/scratch": "size=1m,mode=1777"})
    box.write_text("/scratch/file", "x")
    seen = box.sh("cat /scratch/file; stat -c %a /scratch; grep ' /scratch tmpfs ' /proc/mounts | wc -l")
    assert seen.text.split() == ["x1777", "1"], seen
    with pytest.raises(OSError, match=r".") as caught:
        box.write_bytes("/scratch/large", b"x" * (2 << 20))
    assert caught.value.errno == 28, caught.value
    assert [info.name for info in box.list_dir("/scratch")] == ["file"], "a failed write has left something"


@requires(Capability.TMPFS)
@verifies("tmpfs")
def test_tmpfs_can_refuse_programs(new_box: NewBox) -> None:
    """Programs on a tmpfs can be run, and not with `noexec`, which is in force or refused but never ignored.

    Why: some engines mount every tmpfs noexec, so that builds fail; others drop the option.
    Check: the mount's flags.
    """
    box = new_box(tmpfs={"/yes": "size=1m"})
    box.write_text("/yes/script", "#!/bin/sh\necho ran\n", mode=0o755)
    assert box.exec(["/yes/script"], timeout=DEADLINE).stdout == b"ran\n"
    try:
        box = new_box(tmpfs={"/no": "size=1m,noexec"})
    except UnsupportedError as error:
        refused = str(error)
        assert "noexec" in refused, refused
        return
    box.write_text("/no/script", "#!/bin/sh\necho ran\n", mode=0o755)
    assert box.exec(["/no/script"], timeout=DEADLINE).exit_code == 126


@requires(Capability.TMPFS)
def test_full_disk_leaves_the_old_file(new_box: NewBox) -> None:
    """A write that does not fit leaves the old file whole and nothing beside it.

    Why: a file truncated first is lost when the rest does not fit.
    Check: temporary file and rename; and the removal of the temporary file.
    """
    box = new_box(tmpfs={"/small": "size=1m"})
    box.write_text("/small/file", "old")
    with pytest.raises(OSError, match=r".") as caught:
        box.write_bytes("/small/file", b"x" * (3 << 20))
    assert caught.value.errno == 28, caught.value
    assert box.sh("cat /small/file; ls -A /small", timeout=DEADLINE).stdout == b"oldfile\n"
