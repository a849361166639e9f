"""Images: where a sandbox's root file system comes from, and where its state can go."""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, refused, requires, verifies
from samebox.errors import ConfigError, SandboxError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness
    from samebox.sandbox.sandbox import Sandbox


@pytest.fixture
def shared_dir() -> Iterator[Path]:
    """A directory of this host that every user may read and write, as an engine of another user has to."""
    path = Path(tempfile.mkdtemp(prefix="samebox-conformance-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def rootfs(shared_dir: Path) -> Path:
    """A root file system with one file and no program at all."""
    root = shared_dir / "rootfs"
    for name in ("etc", "tmp", "data"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o755)
    root.chmod(0o755)
    (root / "data" / "mark").write_text("from the image")
    (root / "data" / "mark").chmod(0o644)
    return root


@requires(Capability.DIRECTORY_IMAGE)
@verifies("image")
def test_directory_is_an_image(new_box: NewBox, rootfs: Path) -> None:
    """`image="dir:/path"` runs a root file system from a directory, which stays as it is.

    Why: writes that go through to the directory change the next sandbox's image.
    Check: the writable layer over it.
    """
    box = new_box(image=f"dir:{rootfs}")
    assert box.read_text("/data/mark") == "from the image"
    box.write_text("/data/new", "x")
    box.write_text("/data/mark", "changed")
    assert sorted(path.name for path in (rootfs / "data").iterdir()) == ["mark"]
    assert (rootfs / "data" / "mark").read_text() == "from the image"
    other = new_box(image=f"dir:{rootfs}")
    assert other.read_text("/data/mark") == "from the image"


@requires(Capability.DIRECTORY_IMAGE)
def test_image_without_a_shell(new_box: NewBox, rootfs: Path) -> None:
    """An image without a shell, or any program, can be used: files work, and a command says 127.

    Why: sandboxes that need `sh`, `cat` and `tar` inside can't run images FROM scratch.
    Check: that nothing of the image is needed.
    """
    box = new_box(image=f"dir:{rootfs}")
    box.write_text("a/b", "x")
    assert [info.name for info in box.walk()] == ["a", "a/b"]
    result = box.sh("true", timeout=DEADLINE)
    assert (result.exit_code, b"sh" in result.stderr) == (127, True), result


@requires(Capability.DIRECTORY_IMAGE)
def test_missing_directory_is_an_error(new_box: NewBox, shared_dir: Path) -> None:
    """A directory that is not there is an error with its path.

    Why: an engine that makes it starts on an empty root.
    Check: the look before the start.
    """
    with refused("no-such-directory"):
        new_box(image=f"dir:{shared_dir}/no-such-directory")


@requires(Capability.ARCHIVE_IMAGE)
@verifies("image")
def test_archive_is_an_image(new_box: NewBox, rootfs: Path, shared_dir: Path) -> None:
    """`image="tar:/path"` runs a root file system from an archive, unpacked privately.

    Why: no registry is at hand where one tests, and none should be needed.
    Check: the import of the archive.
    """
    archive = shared_dir / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(rootfs, ".")
    archive.chmod(0o644)
    box = new_box(image=f"tar:{archive}")
    assert box.read_text("/data/mark") == "from the image"
    box.write_text("/data/mark", "changed")
    assert new_box(image=f"tar:{archive}").read_text("/data/mark") == "from the image"


@requires(Capability.ARCHIVE_IMAGE)
def test_changed_archive_is_another_image(new_box: NewBox, rootfs: Path, shared_dir: Path) -> None:
    """An archive that has changed under the same path gives its new content.

    Why: a cache keyed by the path, or by its time, gives the old one.
    Check: that the key is the content's digest.
    """
    archive = shared_dir / "image.tar"
    for text in ("one", "two"):
        (rootfs / "data" / "mark").write_text(text)
        with tarfile.open(archive, "w") as tar:
            tar.add(rootfs, ".")
        archive.chmod(0o644)
        assert new_box(image=f"tar:{archive}").read_text("/data/mark") == text


@requires(Capability.ARCHIVE_IMAGE)
def test_hostile_archive_stays_inside(new_box: NewBox, shared_dir: Path) -> None:
    """An archive whose names lead out, by `..` or through its own links, writes nothing outside of the image.

    Why: an image is somebody else's file; unpacked carelessly it writes anywhere as whoever runs the engine.
    Check: how names and links are judged when unpacking.
    """
    outside = shared_dir / "outside"
    outside.mkdir()
    archive = shared_dir / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tar.addfile(link)
        for name in ("way/planted", f"../../../../..{outside}/planted", f"{outside}/planted-absolute"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"evil"))
    archive.chmod(0o644)
    try:
        new_box(image=f"tar:{archive}")
    except UnsupportedError:
        raise
    except SandboxError as error:
        told = str(error)  # refusing such an archive is as good
    else:
        told = "it was taken"
    planted = [path.name for path in outside.iterdir()]
    assert planted == [], f"{planted}; {told}"


@pytest.mark.parametrize("image", ["tar:/no/such.tar", "tar:/etc/passwd"], ids=["missing", "no-archive"])
@requires(Capability.ARCHIVE_IMAGE)
def test_wrong_archive_is_an_error(new_box: NewBox, image: str) -> None:
    """An archive that is not there, or is none, is an error with its path, and nothing is left.

    Why: a half-unpacked image that stays in a cache is used the next time.
    Check: the errors of the import.
    """
    with refused(image.removeprefix("tar:")):
        new_box(image=image)


@requires(Capability.CONTAINER_IMAGE, Capability.PULL)
@verifies("pull")
def test_present_image_is_not_pulled(new_box: NewBox, harness: Harness) -> None:
    """With `pull="never"` an image that is there is used.

    Why: a client that asks the registry first fails without a network.
    Check: the order of asking.
    """
    box = new_box(image=harness.container_image, pull="never")
    assert box.exec(["true"], timeout=DEADLINE).exit_code == 0


@requires(Capability.PLATFORM, Capability.PULL)
@verifies("platform")
def test_platform_is_the_one_asked_for(new_box: NewBox) -> None:
    """`platform` gives that platform's image, and one that the image lacks is an error.

    Why: an emulated image is ten times slower and fails in odd ways; the wrong one fails at the first command.
    Check: what the engine is asked for.
    """
    machine = new_box().exec(["uname", "-m"], timeout=DEADLINE).text.strip()
    own = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}.get(machine, f"linux/{machine}")
    box = new_box(platform=own)
    assert box.exec(["uname", "-m"], timeout=DEADLINE).text.strip() == machine
    with refused("s390x"):
        new_box(platform="linux/s390x", pull="never")


@requires(Capability.ARCHIVE_IMAGE)
def test_image_that_cannot_run_is_refused(new_box: NewBox, rootfs: Path, shared_dir: Path) -> None:
    """An image of a platform whose programs the engine's host can't run is refused, in the same words everywhere.

    Why: its first process ends at once, with an exit code that says nothing.
    Check: the platform that the image names; a host with an emulator runs it.
    """
    machine = new_box().exec(["uname", "-m"], timeout=DEADLINE).text.strip()
    content, archive = io.BytesIO(), shared_dir / "image.tar"
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(rootfs, ".")
        end = tar.offset + 2 * tarfile.BLOCKSIZE
    layer = content.getvalue()[:end]  # a rootless Podman may stumble over more than the two blocks at the end
    other = "arm64" if machine == "x86_64" else "amd64"
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": other,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        documents = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
        for name, data in {**documents, "layer.tar": layer}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    archive.chmod(0o644)
    reason = ""
    try:
        box = new_box(image=f"tar:{archive}")
    except UnsupportedError as error:
        if error.capability is not Capability.PLATFORM:
            raise
        reason = error.reason
    else:
        assert box.read_text("/data/mark") == "from the image"
    if reason:
        assert f"the image is of linux/{other}, whose programs the {machine} host of" in reason
        assert "install an emulator there" in reason


@requires(Capability.BUILD)
@verifies("build")
def test_dockerfile_is_built(new_box: NewBox, harness: Harness) -> None:
    """`build` makes an image from a Dockerfile's text, and a sandbox of it.

    Why: the steps have to run on the engine, and the result has to be found again.
    Check: the engine's build call.
    """
    text = f"FROM {harness.build_base}\nRUN mkdir /built && echo yes > /built/mark\n"
    settings = {"image": None, "build": {"dockerfile": text}}
    assert new_box(**settings).read_text("/built/mark") == "yes\n"


@requires(Capability.BUILD)
@verifies("build")
@pytest.mark.parametrize("given", [True, False], ids=["given", "not-given"])
def test_build_has_the_proxies_that_it_is_given(new_box: NewBox, harness: Harness, *, given: bool) -> None:
    """A build's steps have a proxy that is among the build's arguments, without an ARG for it, and no other.

    Why: engines hand on the proxies of their own environment or of a command line's settings, with the password in it,
    to whatever a stranger's Dockerfile runs.
    Check: the environment of a step.
    """
    proxy = "http://192.0.2.1:3128"
    text = f"FROM {harness.build_base}\nRUN mkdir /built && env > /built/seen && echo {secrets.token_hex()}\n"
    build = {"dockerfile": text, "args": {"HTTPS_PROXY": proxy} if given else {}}
    seen = new_box(image=None, build=build).read_text("/built/seen").splitlines()
    found = [line for line in seen if line.partition("=")[0].lower().endswith("_proxy")]
    assert found == ([f"HTTPS_PROXY={proxy}"] if given else [])


@requires(Capability.BUILD)
@verifies("build")
def test_failing_build_names_its_step(new_box: NewBox, harness: Harness) -> None:
    """A build that fails raises an error with the step and what it wrote last.

    Why: "returned a non-zero code" and an exit code leave one to build by hand.
    Check: what is kept of the log.
    """
    text = f"FROM {harness.build_base}\nRUN echo it went wrong here && exit 3\n"
    with refused("it went wrong here"):
        new_box(image=None, build={"dockerfile": text})


@requires(Capability.BUILD)
@verifies("build")
def test_build_sends_its_directory(new_box: NewBox, harness: Harness, tmp_path: Path) -> None:
    """A build from a directory has the directory's files, but for those that .dockerignore leaves out.

    Why: a secret beside the sources that ends up in an image is in every copy of it.
    Check: the patterns: `!` takes back, `**` is any depth, and the last one that matches decides.
    """
    for name in ("kept", "deep/er/kept", "key.pem", "deep/er/key.pem", "deep/public.pem", "cache/x", "cache/keep/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("# no keys\n**/*.pem\n!deep/public.pem\ncache\n!cache/keep\nDockerfile\n")
    (tmp_path / "kept").write_text(secrets.token_hex())  # else it may be an image of an earlier run
    (tmp_path / "Dockerfile").write_text(f"FROM {harness.build_base}\nCOPY . /sent\n")
    box = new_box(image=None, build=tmp_path)
    found = {info.name for info in box.walk("/sent") if info.type == "file"} - {".dockerignore"}
    assert found == {"kept", "deep/er/kept", "deep/public.pem", "cache/keep/y"}
    assert box.read_text("/sent/deep/er/kept") == "deep/er/kept"


@requires(Capability.BUILD)
@verifies("build")
def test_build_takes_back_what_is_deep(new_box: NewBox, harness: Harness, tmp_path: Path) -> None:
    """`*` with `!src/**/*.py` sends what is deep below; the Dockerfile's own ignore file comes first.

    Why: one engine loses nested files in silence; one reads an ignore file that the others do not know.
    Check: that the files are chosen on this side, by one reader.
    """
    (tmp_path / "src/deep/er").mkdir(parents=True)
    for name in ("src/a.py", "src/deep/er/b.py", "src/deep/c.txt", "d.py"):
        (tmp_path / name).write_text(secrets.token_hex())
    (tmp_path / "Containerfile").write_text(f"FROM {harness.build_base}\nCOPY . /sent\n")
    (tmp_path / ".dockerignore").write_text("*\n")
    (tmp_path / "Containerfile.dockerignore").write_text("*\n!src/**/*.py\n")
    box = new_box(image=None, build=tmp_path)
    assert {info.name for info in box.walk("/sent") if info.type == "file"} == {"src/a.py", "src/deep/er/b.py"}


HEREDOCS = """FROM {base}
ARG NAME=world
ENV PLACE=/made
RUN <<EOF
mkdir -p $PLACE
echo "one $NAME" > $PLACE/one
EOF
RUN cat <<-A > $PLACE/two && cat <<'B' >> $PLACE/two
	tabs $NAME
	A
plain $NAME
B
RUN <<EOF
#!/bin/sh -e
echo "three $NAME" > $PLACE/three
EOF
COPY <<four <<'five' $PLACE/
four "$NAME"
four
five $NAME
five
COPY --chmod=600 <<EOF $PLACE/six
six
EOF
"""
MOUNT = """FROM {base}
RUN --mount=type=tmpfs,target=/mounted echo kept > /mounted/file && cp /mounted/file /copied
"""
MODES = """FROM {base}
COPY --chmod=750 Dockerfile /mode
"""


def built_or_refused(new_box: NewBox, text: str, directory: Path, lacks: str) -> Sandbox | None:
    """Return a sandbox of a build; None where the engine's builder says that it lacks what the text asks for."""
    (directory / "Dockerfile").write_text(text)
    try:
        return new_box(image=None, build=directory)
    except UnsupportedError as error:
        if re.search(rf"in line \d+ of the Dockerfile: \w+( [\w.+-]+)? does not build {lacks}; ", error.reason):
            return None
        raise


@requires(Capability.BUILD)
def test_build_has_here_documents(new_box: NewBox, harness: Harness, tmp_path: Path) -> None:
    """Here-documents are scripts, a command's input and files; or they are refused, with who has them.

    Why: an old builder takes their lines for instructions: "unknown instruction: ECHO".
    Check: what is expanded by whom: the shell in `RUN`, the builder in `COPY` unless the name is quoted.
    """
    box = built_or_refused(new_box, HEREDOCS.format(base=harness.build_base), tmp_path, "here-documents")
    if box is not None:
        found = {name: box.read_text(f"/made/{name}") for name in ("one", "two", "three", "four", "five")}
        assert found == {
            "one": "one world\n",
            "two": "tabs world\nplain $NAME\n",
            "three": "three world\n",
            "four": 'four "world"\n',
            "five": "five $NAME\n",
        }
        assert box.stat("/made/six").mode & 0o7777 == 0o600


@requires(Capability.BUILD)
def test_build_has_mounts(new_box: NewBox, harness: Harness, tmp_path: Path) -> None:
    """A step's own mount is there for the step and not in the image; or it is refused, with who has it.

    Why: an old builder says that a flag is unknown, and not which one knows it.
    Check: which builder is asked, and what is said of the ones that can't.
    """
    box = built_or_refused(new_box, MOUNT.format(base=harness.build_base), tmp_path, "RUN --mount")
    if box is not None:
        assert box.read_text("/copied") == "kept\n"
        assert not box.exists("/mounted/file")


@requires(Capability.BUILD)
def test_build_sets_modes(new_box: NewBox, harness: Harness, tmp_path: Path) -> None:
    """`COPY --chmod` gives what is copied these permission bits.

    Why: an old builder refuses it, though another one beside it has it.
    Check: which builder is asked, and the mode that a stat gives.
    """
    box = built_or_refused(new_box, MODES.format(base=harness.build_base), tmp_path, "COPY --chmod")
    if box is not None:
        assert box.stat("/mode").mode & 0o7777 == 0o750


@requires(Capability.BUILD)
def test_build_copies_links_as_links(new_box: NewBox, harness: Harness, tmp_path: Path) -> None:
    """Links of a directory are in the image as they are; what `COPY` names goes through links within the context.

    Why: a builder that follows them copies the host's files, and one whose cache does not see a link's target gives the
    link of an earlier build.
    Check: how links are sent, and what the builder's cache is keyed by.
    """
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/inner").write_text(secrets.token_hex())
    (tmp_path / "within").symlink_to("sub")
    (tmp_path / "Dockerfile").write_text(f"FROM {harness.build_base}\nCOPY within/inner /named\nCOPY . /sent\n")
    for target in ("/etc/passwd", "nothing"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(target)
        box = new_box(image=None, build=tmp_path)
        assert (box.stat("/sent/link", follow=False).target, box.stat("/sent/within", follow=False).target) == (
            target,
            "sub",
        )
        assert box.read_text("/named") == box.read_text("/sent/sub/inner") == (tmp_path / "sub/inner").read_text()


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd"], ids=["relative", "absolute"])
@requires(Capability.BUILD)
def test_build_does_not_leave_its_context(new_box: NewBox, harness: Harness, tmp_path: Path, target: str) -> None:
    """A link that leads out of the context is no way to the host's files, and the error names it.

    Why: one builder copies it, one ends with words about a directory of its own, and a bad one reads the host's file.
    Check: that no link of the context is followed on the host.
    """
    (tmp_path / "outside").write_text("not to be sent")
    (tmp_path / "context").mkdir()
    (tmp_path / "context/secret-link").symlink_to(target)
    (tmp_path / "context/Dockerfile").write_text(f"FROM {harness.build_base}\nCOPY secret-link /copied\n")
    with refused("secret-link"):
        new_box(image=None, build=tmp_path / "context")


@requires(Capability.BUILD)
@verifies("build")
def test_build_is_made_once(new_box: NewBox, harness: Harness) -> None:
    """The same content is built once, and anew when the image that it begins with is another one.

    Why: a build for each sandbox takes minutes; one that is never made again misses the fixes of its base.
    Check: what the digest is made of: the identity of the base, not its name.
    """
    name = "localhost/samebox-conformance-base"
    build = {"dockerfile": f"FROM {name}\nRUN cp /etc/base /etc/derived\n"}
    for content in ("one", "two"):
        base = {"dockerfile": f"FROM {harness.build_base}\nRUN echo {content} > /etc/base\n", "tag": name}
        new_box(image=None, build=base)
        lines: list[str] = []
        assert new_box(image=None, build=build).read_text("/etc/derived") == f"{content}\n"
        assert new_box(image=None, build=build, progress=lines.append).read_text("/etc/derived") == f"{content}\n"
        assert not [line for line in lines if "RUN" in line], f"it was built again: {lines}"


@requires(Capability.BUILD)
@verifies("build")
def test_runtime_runs_its_commands_literally(new_box: NewBox, harness: Harness) -> None:
    """A Runtime's commands and environment are what they say, whatever quotes and dollars are in them.

    Why: a list that is joined to a line of a Dockerfile is split again by a shell, at somebody else's quotes.
    Check: the exec form, and what is escaped in it.
    """
    odd = f"{secrets.token_hex()} \"b\" 'c' $HOME \\ ; `d` é"
    commands = [["sh", "-c", 'printf %s "$1" > /etc/said', "sh", odd]]
    runtime = {"name": "odd", "base_image": harness.build_base, "setup_commands": commands, "env": {"ODD": odd}}
    box = new_box(image=None, build={"runtime": runtime})
    assert box.read_text("/etc/said") == odd
    assert box.sh('printf %s "$ODD"', timeout=DEADLINE).text == odd


@pytest.mark.parametrize("manager", ["pip", "npm", "apt", "cargo"])
def test_package_is_no_command(new_box: NewBox, harness: Harness, manager: str) -> None:
    """A package called `x; touch /tmp/here` is an error, before anything is built.

    Why: names of packages come from configs and from models, and end in a command line.
    Check: the grammar of each package manager's names.
    """
    runtime = {"name": "evil", "base_image": harness.build_base, "package_manager": manager}
    for package in ("x; touch /tmp/here", "--config=/etc/passwd", "x\nRUN touch /tmp/here", "$(id)", ""):
        with refused("is no package"):
            new_box(image=None, build={"runtime": runtime | {"packages": [package]}})


@requires(Capability.BUILD, Capability.CONTAINER_IMAGE)
@verifies("build")
def test_missing_base_is_an_error(new_box: NewBox) -> None:
    """A build on an image that is not there is an error with its name; one below localhost/ is asked of no network.

    Why: a builder of its own looks for `localhost/name` at a server of that name.
    Check: that bases are found by the same rules as images.
    """
    with refused("localhost/samebox-no-such-base"):
        new_box(image=None, build={"dockerfile": "FROM localhost/samebox-no-such-base\nRUN true\n"})


@requires(Capability.SNAPSHOT, Capability.USER)
def test_snapshot_keeps_the_files(new_box: NewBox) -> None:
    """`snapshot` keeps the files as an image of which a sandbox can be made; the first one goes on.

    Why: without it every job installs the same packages again.
    Check: the engine's commit; and that neither env nor the workdir's content is lost or leaked.
    """
    # As root, as an engine's default image may have a root file system that is not its user's.
    box = new_box(user="0", env={"TOKEN": "not-in-the-image"})
    box.write_text("kept", "of the workdir")
    root = box.sh("mkdir -p /etc/snap && echo kept > /etc/snap/file", timeout=DEADLINE)
    image = box.snapshot("samebox-conformance-snapshot")
    assert root.exit_code == 0, root
    assert box.read_text("kept") == "of the workdir"
    other = new_box(image=image)
    assert other.exec(["cat", "/etc/snap/file"], timeout=DEADLINE).stdout == b"kept\n"
    assert other.read_text("kept") == "of the workdir"
    assert other.sh("echo ${TOKEN:-none}", timeout=DEADLINE).stdout == b"none\n"


@requires(Capability.SNAPSHOT, Capability.USER)
def test_snapshot_keeps_removals_and_modes(new_box: NewBox) -> None:
    """What was removed is gone in a snapshot too; permissions, links and hard links are as they were.

    Why: a copy of what was written alone brings removed files back, and a private key becomes everyone's.
    Check: how removals are kept (whiteouts), and what becomes of modes and links.
    """
    box = new_box(user="0")
    script = """
        mkdir -p /etc/snap && cd /etc/snap && echo secret > key && chmod 600 key && ln key same && ln -s key link
        echo x > gone && mkdir -m 1777 open
    """
    box.sh(script, timeout=DEADLINE).check()
    first = new_box(user="0", image=box.snapshot("samebox-conformance-removals"))
    first.sh("cd /etc/snap && rm gone && rmdir open", timeout=DEADLINE).check()
    second = new_box(user="0", image=first.snapshot("samebox-conformance-removals"))
    assert sorted(info.name for info in second.list_dir("/etc/snap")) == ["key", "link", "same"]
    seen = second.sh(
        "cd /etc/snap && stat -c '%a' key && cat same && readlink link && stat -c %i key same", timeout=DEADLINE
    )
    *words, key, same = seen.text.split()
    assert (words, key) == (["600", "secret", "key"], same), seen
    assert box.read_text("/etc/snap/gone") == "x\n"


@requires(Capability.SNAPSHOT, Capability.TMPFS)
def test_snapshot_leaves_memory_out(new_box: NewBox) -> None:
    """What is in a memory file system that was asked for is in no snapshot.

    Why: memory is where one puts what is not to be kept.
    Check: what the commit looks at.
    """
    box = new_box(tmpfs={"/scratch": "size=1m"})
    box.write_text("/scratch/file", "not to be kept")
    other = new_box(image=box.snapshot("samebox-conformance-memory"))
    assert not other.exists("/scratch/file")


def test_snapshot_or_refusal(new_box: NewBox, harness: Harness) -> None:
    """An engine that claims no snapshots refuses them with UnsupportedError, on a sandbox that runs.

    Why: a call, unlike a setting, can only be refused when it is made: that is where it is forgotten.
    Check: the look at the claim before the engine's call.
    """
    box = new_box()
    if Capability.SNAPSHOT in harness.claimed:
        assert box.exec(["true"], timeout=DEADLINE).exit_code == 0
        return
    with pytest.raises(UnsupportedError) as caught:
        box.snapshot("samebox-conformance-snapshot")
    assert caught.value.capability is Capability.SNAPSHOT


@requires(Capability.SNAPSHOT)
def test_wrong_name_of_a_snapshot_is_refused(new_box: NewBox) -> None:
    """A name that no engine can give to an image is refused before anything is made.

    Why: an engine makes the image first and then can't name it, and it stays without a name.
    Check: that the name is looked at on this side.
    """
    box = new_box()
    for name in ("UPPER", "a b", "x:", "", "a@sha256:" + "0" * 64):
        with pytest.raises(ConfigError, match="an image"):
            box.snapshot(name)
    assert box.snapshot("samebox-conformance-snapshot")
