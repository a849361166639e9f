"""The workdir is there and the sandbox user's, whatever the image has at its place."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samebox.engine.oci.path_stat import PathStat
from samebox.errors import ConfigError, SandboxNotFoundError
from samebox_podman.workdir import Look, WorkdirPlan, plan_workdir

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine

IMAGE = "localhost/samebox-test-workdirs:latest"
ENTRIES = {
    "owned-by-root": (tarfile.DIRTYPE, 0o755, ""),
    "for-all": (tarfile.DIRTYPE, 0o1777, ""),
    "data": (tarfile.DIRTYPE, 0o755, ""),
    "link": (tarfile.SYMTYPE, 0o777, "/data"),
    "dangling": (tarfile.SYMTYPE, 0o777, "/made/by/nobody"),
    "file": (tarfile.REGTYPE, 0o644, ""),
    "to-the-host": (tarfile.SYMTYPE, 0o777, "/tmp"),
}


def plan(workdir: str = "/workspace", present: PathStat | None = None, **settings: Any) -> WorkdirPlan:
    """Return the plan for a new Podman, an image that has nothing there, and a user that is not root."""
    defaults: dict[str, Any] = {"read_only": False, "tmpfs": (), "volumes": (), "mounts": {}, "root": False}
    defaults |= {"version": (5, 8, 2), "mapped": False}
    return plan_workdir(workdir, **({"look": Look(present)} | defaults | settings))


def test_plans() -> None:
    """The fewest calls that do it: none for an ordinary image."""
    assert plan() == WorkdirPlan(create=True)
    assert plan(present=PathStat("directory", 0o755)) == WorkdirPlan(put=0o755)
    assert plan(present=PathStat("directory", 0o550)) == WorkdirPlan(put=0o750)
    assert plan(present=PathStat("directory", 0o777)) == WorkdirPlan()
    assert plan(present=PathStat("link", 0o777)) == WorkdirPlan(put=0o755)
    assert plan(read_only=True) == WorkdirPlan(tmpfs=True)
    assert plan(read_only=True, tmpfs=("/workspace",)) == WorkdirPlan(give="/workspace")
    assert plan("/a/b/c", tmpfs=("/a", "/a/b"), volumes=("/a/b/c/d",)) == WorkdirPlan(give="/a/b")
    assert plan("/a", tmpfs=("/ab", "/b")) == WorkdirPlan(create=True)
    assert plan(volumes=("/workspace",), read_only=True) == WorkdirPlan(put=0o755, mounted=True)
    assert plan(tmpfs=("/workspace/cache",)) == WorkdirPlan(put=0o755)
    assert plan("/srv/app") == WorkdirPlan(create=True)
    assert plan("/srv/app", version=(5, 7, 1)) == WorkdirPlan(put=0o755)
    assert plan("/srv", version=(4, 3, 1)) == WorkdirPlan(create=True)
    assert plan(mapped=True) == WorkdirPlan(put=0o755)


def test_plans_on_mounts() -> None:
    """A volume's directory is put, so that what else it holds keeps its owner; a directory of the host stays as it is.

    That is so also under a read-only root, and where an image has a volume of its own below.
    """
    assert plan(mounts={"/workspace": True}) == WorkdirPlan(put=0o755, mounted=True)
    assert plan(mounts={"/workspace": True}, read_only=True) == WorkdirPlan(put=0o755, mounted=True)
    assert plan("/data/below", mounts={"/data": True}, volumes=("/data",)) == WorkdirPlan(put=0o755, mounted=True)
    assert plan(mounts={"/workspace": False}, read_only=True) == WorkdirPlan()
    assert plan("/data/below", mounts={"/data": False}, tmpfs=("/data/below",)) == WorkdirPlan(give="/data/below")
    assert plan(mounts={"/workspace/cache": False}) == WorkdirPlan(put=0o755)
    assert plan(mounts={"/workspace2": True}) == WorkdirPlan(create=True)


def test_plans_for_root() -> None:
    """What Podman does costs 40 ms, saved where the agent can do it: right below root's own `/`, which is 0555."""
    assert plan(root=True) == WorkdirPlan()
    assert plan(root=True, look=None) == WorkdirPlan(create=True)
    assert plan("/srv/app", root=True) == WorkdirPlan(create=True)
    assert plan(root=True, present=PathStat("directory", 0o755)) == WorkdirPlan(put=0o755)
    assert plan(root=True, tmpfs=("/workspace/cache",)) == WorkdirPlan(put=0o755)


@pytest.fixture
def odd(engine: PodmanEngine, client: PodmanClient, busybox: str) -> str:
    """Return the id of an image with something at many paths, and a volume; made once for each service."""
    found = client.call("get", f"/images/{IMAGE.replace('/', '%2F')}/json", accept=(404,))
    if found.status_code == 404:
        image = client.json(f"/images/{busybox.replace('/', '%2F')}/json")["Id"]
        spec = {"image": image, "command": ["true"], "netns": {"nsmode": "none"}}
        made = client.call("post", "/containers/create", body=spec).json()["Id"]
        try:
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                for name, (kind, mode, target) in ENTRIES.items():
                    member = tarfile.TarInfo(name)
                    member.type, member.mode, member.linkname = kind, mode, target
                    archive.addfile(member)
            put = {"path": "/", "copyUIDGID": "false"}
            client.call("put", f"/containers/{made}/archive", params=put, data=buffer.getvalue())
            commit = {"container": made, "repo": IMAGE.partition(":")[0], "tag": "latest", "changes": "VOLUME /volume"}
            client.call("post", "/commit", params=commit)
        finally:
            engine.remove(made)
    return IMAGE


@pytest.mark.parametrize("user", [None, "nobody", "1234", "1234:4321"])
@pytest.mark.parametrize("read_only", [False, True])
def test_made_where_the_image_has_none(
    make: Callable[..., Sandbox],
    user: str | None,
    read_only: bool,  # noqa: FBT001
) -> None:
    """Names are resolved by the image's own /etc/passwd, by Podman."""
    with make(user=user, read_only=read_only) as box:
        box.write_text("new.txt", "here\n")
        assert box.sh("cat new.txt; id -u; stat -c %u .; stat -c %a .").text.split() == [
            "here", *[{None: "0", "nobody": "65534"}.get(user, "1234")] * 2, "755",
        ]  # fmt: skip
        assert box.sh("touch /etc/x").ok == (user is None and not read_only)


@pytest.mark.parametrize("user", [None, "nobody"])
@pytest.mark.parametrize(
    "workdir",
    ["/owned-by-root", "/for-all", "/link", "/dangling", "/volume", "/volume/deep/down", "/new/deep/down", "/data/sub"],
)
def test_writable_wherever_it_is(make: Callable[..., Sandbox], odd: str, user: str | None, workdir: str) -> None:
    """What the image has there is given to the user; nobody can chown inside."""
    for _ in range(2):  # the second time the engine knows the image
        with make(image=odd, workdir=workdir, user=user) as box:
            box.write_text("new.txt", "here")
            assert box.sh("cat new.txt").text == "here"


def test_a_directory_for_all_keeps_its_owner_and_mode(make: Callable[..., Sandbox], odd: str) -> None:
    """It needs nothing, as with the workdir /tmp."""
    with make(image=odd, workdir="/for-all", user="nobody") as box:
        assert box.sh("stat -c '%u %a' .").text == "0 1777\n"


def test_a_volume_of_the_image_stays_writable_under_a_read_only_root(make: Callable[..., Sandbox], odd: str) -> None:
    """As on Docker."""
    with make(image=odd, read_only=True, workdir="/volume/work", user="nobody") as box:
        box.write_text("new.txt", "here")
        assert box.sh("touch /volume/x").ok
        assert not box.sh("touch /data/x").ok


def test_a_file_is_refused(make: Callable[..., Sandbox], odd: str, engine: PodmanEngine, name: str) -> None:
    """The error names the setting; the container that it was found with is removed."""
    with pytest.raises(ConfigError, match=r"workdir = '/file': something that is no directory is in the way"):
        make(image=odd, workdir="/file", name=name, keep=True).start()
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


def test_a_link_in_the_image_never_leads_to_the_host(make: Callable[..., Sandbox], odd: str) -> None:
    """Before 5.8 Podman itself follows links in the parents of a working directory on the host, and makes it there."""
    inside = f"samebox-test-{os.getpid()}"
    with make(image=odd, workdir=f"/to-the-host/{inside}", user="nobody") as box:
        box.write_text("new.txt", "here")
        assert box.sh(f"cat /tmp/{inside}/new.txt").text == "here"
    assert not Path("/tmp", inside).exists()


@pytest.mark.parametrize(("tmpfs", "mode"), [("size=1m", "1777"), ("size=1m,mode=700", "700")])
def test_on_a_tmpfs_of_the_config(make: Callable[..., Sandbox], tmpfs: str, mode: str) -> None:
    """The mount is given to the user, so that a strict mode does not lock it out."""
    for workdir in ("/scratch", "/scratch/deep/down"):
        with make(tmpfs={"/scratch": tmpfs}, workdir=workdir, user="nobody", read_only=True) as box:
            box.write_text("new.txt", "here")
            assert box.sh("stat -c '%U %a' /scratch").text == f"nobody {mode}\n"


def test_above_a_tmpfs_of_the_config(make: Callable[..., Sandbox]) -> None:
    """Podman leaves the parent of a mount to the runtime, which makes it as root."""
    with make(tmpfs={"/workspace/cache": ""}, user="nobody") as box:
        box.write_text("new.txt", "here")
        box.write_text("cache/new.txt", "here")


def test_the_first_process_begins_where_no_image_can_lead_it(make: Callable[..., Sandbox], odd: str) -> None:
    """A working directory from the image could be a link to /proc/self/fd/N (CVE-2024-21626)."""
    with make(image=odd, workdir="/link") as box:
        assert box.sh("readlink /proc/1/cwd").text in {"/\n", ""}
