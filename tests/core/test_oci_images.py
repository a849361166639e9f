"""Images of container engines, as far as no engine is needed: archives of anybody, directories, names and platforms."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

from samebox.config.reference import check_new_name
from samebox.engine.labels import MADE
from samebox.engine.oci import bounded
from samebox.engine.oci.bounded import ArchiveError, chunks, decompressed
from samebox.engine.oci.image_archive import open_archive
from samebox.engine.oci.image_facts import ImageFacts, image_facts
from samebox.engine.oci.local_images import ARCHIVES, CONTENT, DIRECTORIES, archive_image, directory_image, local_image
from samebox.engine.oci.reference import has_registry, split_reference
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.tar_stream import fingerprint, tree
from samebox.errors import ConfigError, EngineError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

HEX = "0123456789abcdef" * 4


def packed(files: Mapping[str, bytes | str]) -> bytes:
    """Return an archive; a text is where a link leads."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def docker(**more: bytes | str) -> dict[str, bytes | str]:
    """Return what `docker save` writes, of one layer."""
    manifest = [{"Config": f"{HEX}.json", "RepoTags": ["their:tag"], "Layers": [f"{HEX}/layer.tar"]}]
    return {f"{HEX}/layer.tar": b"layer", f"{HEX}.json": b'{"config": {}}', "manifest.json": text(manifest), **more}


def oci(*platforms: dict[str, str] | None, nested: int = 0) -> dict[str, bytes | str]:
    """Return an OCI archive with an image for each platform."""
    files: dict[str, bytes | str] = {"oci-layout": b"{}"}

    def blob(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifests = []
    for platform in platforms:
        config, layer = blob(text({"platform": platform})), blob(b"layer")
        manifest = blob(text({"config": config, "layers": [layer]}))
        manifests.append(manifest if platform is None else {**manifest, "platform": platform})
    index = {"manifests": manifests}
    for _ in range(nested):
        index = {"manifests": [blob(text(index))]}
    files["index.json"] = text(index)
    return files


def text(value: object) -> bytes:
    """Return JSON."""
    return json.dumps(value).encode()


def loaded(data: bytes, architecture: str = "amd64") -> dict[str, bytes] | None:
    """Return what of an archive's image would be sent to a service; None: it is a root file system."""
    with open_archive(io.BytesIO(data), architecture) as (_, image):
        if image is None:
            return None
        sent = io.BytesIO(b"".join(image.stream("localhost/ours:1")))
    with tarfile.open(fileobj=sent) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["none", "gzip", "bz2", "xz"]
)
def test_saved_image(compress: Callable[[bytes], bytes]) -> None:
    """It is sent under our name alone."""
    sent = loaded(compress(packed(docker())))
    assert sent is not None
    assert list(sent) == [f"{HEX}.json", f"{HEX}/layer.tar", "manifest.json"]
    assert json.loads(sent["manifest.json"])[0]["RepoTags"] == ["localhost/ours:1"]
    assert sent[f"{HEX}/layer.tar"] == b"layer"


def test_parts_of_an_image() -> None:
    """An engine without a service unpacks the layers itself."""
    with open_archive(io.BytesIO(gzip.compress(packed(docker()))), "amd64") as (_, image):
        assert image is not None
        assert image.config() == {"config": {}}
        assert [layer.read() for layer in image.layers()] == [b"layer"]


@pytest.mark.parametrize("size", [0, 1, 1000, 3 << 20])
def test_streams_of_xz(size: int) -> None:
    """Streams one after the other, padding between them, and every way to seek: as if the content were the file."""
    content = os.urandom(size)
    data = lzma.compress(content[: size // 3]) + bytes(8) + lzma.compress(content[size // 3 :]) + bytes(4)
    with decompressed(io.BytesIO(data)) as ours, io.BytesIO(content) as theirs:
        for where, whence in [(0, os.SEEK_END), (0, os.SEEK_SET), (size // 2, os.SEEK_SET), (-size // 3, os.SEEK_CUR)]:
            assert ours.seek(where, whence) == theirs.seek(where, whence)
            assert ours.read(100) == theirs.read(100)
            assert ours.tell() == theirs.tell()
        assert ours.seek(0) == 0
        assert ours.read() == content


@pytest.mark.parametrize("data", [lzma.compress(b"content")[:-9], lzma.compress(b"a") + b"more"], ids=["cut", "more"])
def test_broken_xz(data: bytes) -> None:
    """A file that ends too early, or goes on with something else, is an error."""
    with pytest.raises(ArchiveError, match="it can't be decompressed"):
        list(chunks(decompressed(io.BytesIO(data))))


@pytest.mark.parametrize("first", [b"", lzma.compress(b"first")], ids=["first", "second"])
def test_dictionary_of_xz(first: bytes) -> None:
    """A stream that wants more memory than any useful one is refused, wherever it is in the file."""
    greedy = lzma.compress(b"content", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    with pytest.raises(ArchiveError, match=r"it can't be decompressed \(Memory usage limit exceeded\)"):
        list(chunks(decompressed(io.BytesIO(first + greedy))))


def test_dictionary_of_zstd() -> None:
    """A frame that wants a window of 2 GiB is refused."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, (31 - 10) << 3]) + b"\x09\x00\x00a"
    with pytest.raises(ArchiveError, match=r"it can't be decompressed \(.*too much memory"):
        list(chunks(decompressed(io.BytesIO(frame))))
    assert list(chunks(decompressed(io.BytesIO(frame.replace(bytes([21 << 3]), bytes([17 << 3])))))) == [b"a"]


def test_zstd_without_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text says what to install."""
    monkeypatch.setattr(bounded, "_ZSTD_MODULES", ("no_such_module",))
    with pytest.raises(ArchiveError, match=r"needs Python 3\.14 or the distribution backports\.zstd"):
        loaded(b"\x28\xb5\x2f\xfd" + bytes(100))


def test_saved_image_of_another_tool() -> None:
    """One with names of its own is told by its manifest."""
    manifest = [{"Config": "config.json", "Layers": ["./one.tar.gz"]}]
    sent = loaded(packed({"./config.json": b"{}", "./one.tar.gz": b"1", "./manifest.json": text(manifest)}))
    assert sent is not None
    assert sent["./one.tar.gz"] == b"1"


def test_layer_that_is_a_link() -> None:
    """Docker writes a layer that it has already as a link to the other one."""
    other = "f" * 64
    files = docker()
    files |= {f"{other}/layer.tar": files[f"{HEX}/layer.tar"], f"{HEX}/layer.tar": f"../{other}/layer.tar"}
    sent = loaded(packed(files))
    assert sent is not None
    assert sent[f"{HEX}/layer.tar"] == b"layer"


@pytest.mark.parametrize("target", [f"../{HEX}/layer.tar", "/etc/passwd", "../../../../etc/passwd", "nothing"])
def test_link_to_nowhere(target: str) -> None:
    """A circle, or a way out: it names no file of the archive, and the host's are not looked at."""
    with pytest.raises(ArchiveError, match="it has no file"):
        loaded(packed({**docker(), f"{HEX}/layer.tar": target}))


@pytest.mark.parametrize("nested", [0, 1, 2])
def test_oci_archive(nested: int) -> None:
    """The image for the architecture is taken, also from an index in an index."""
    sent = loaded(packed(oci({"os": "linux", "architecture": "s390x"}, {"architecture": "amd64"}, nested=nested)))
    assert sent is not None
    config = json.loads(sent["manifest.json"])[0]["Config"]
    assert json.loads(sent[config])["platform"]["architecture"] == "amd64"
    assert loaded(packed(oci(None, nested=nested)), "x86_64") is not None


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"manifest.json": text([{"RepoTags": ["a:1"]}, {"RepoTags": ["b:2"]}])}, r"it holds 2 images \(a:1, b:2\)"),
        (oci(None, None), r"it holds 2 images \(untagged, untagged\); save one alone"),
        (oci({"architecture": "s390x"}), "it is for s390x, not for amd64"),
        (oci(), "it is for nothing, not for amd64"),
        (oci(None, nested=9), "nested too deeply"),
        ({"manifest.json": b"{" * 5000}, "'manifest.json' is not JSON"),
        ({"manifest.json": b'{"Config": 1}'}, "not as `docker save` writes it"),
        ({"index.json": b'{"manifests": [{"digest": "sha256:../../x"}]}'}, r"a digest 'sha256:\.\./\.\./x'"),
        ({"index.json": b'{"manifests": 1}'}, "not as OCI tools write it"),
        ({"manifest.json": text([{"Config": "c", "Layers": []}])}, "it has no file 'c'"),
    ],
)
def test_hostile_images(files: dict[str, bytes | str], said: str) -> None:
    """What is no image, or none that is known to be meant, is told."""
    with pytest.raises(ArchiveError, match=said):
        loaded(packed(files))


def test_long_document() -> None:
    """A document of any length is not read, and one of the most that is read is."""
    short, long = (b" " * (size - 2) + b"{}" for size in (1 << 20, (1 << 20) + 1))
    assert loaded(packed(docker(**{f"{HEX}.json": short}))) is not None
    with open_archive(io.BytesIO(packed(docker(**{f"{HEX}.json": short}))), "amd64") as (_, image):
        assert image is not None
        assert image.config() == {}
    with pytest.raises(ArchiveError, match=r"'manifest\.json' is longer than 1048576 bytes"):
        loaded(packed(docker(**{"manifest.json": long})))


@pytest.mark.parametrize(
    "files", [{"bin/sh": b""}, {"manifest.json": b"{}", "bin/sh": b""}, {"index.json": b"[]", "etc": b""}, {}]
)
def test_root_file_system(files: dict[str, bytes | str]) -> None:
    """One may have a file that is called as an image's."""
    assert loaded(packed(files)) is None


@pytest.mark.parametrize(
    "data", [b"no archive\n" * 100, gzip.compress(packed(docker()))[:200], b"\x1f\x8b" + b"x" * 99]
)
def test_no_archive(data: bytes) -> None:
    """Text, an archive that was cut, and one whose compression is broken."""
    with pytest.raises(ArchiveError):
        loaded(data)


def test_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gets too large by decompressing is given up."""
    monkeypatch.setattr(bounded, "MOST_BYTES", 1 << 20)
    with pytest.raises(ArchiveError, match="more than 1048576 bytes of content"):
        list(chunks(decompressed(io.BytesIO(gzip.compress(bytes(2 << 20))))))


def test_hole() -> None:
    """A sparse member may claim any size; no image has one."""
    member = tarfile.TarInfo(f"{HEX}/layer.tar")
    member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 60), "GNU.sparse.name": member.name}
    files = docker()
    del files[f"{HEX}/layer.tar"]
    data = member.tobuf(tarfile.PAX_FORMAT) + packed(files)
    with pytest.raises(ArchiveError, match="it has no file"):
        loaded(data)


class Store:
    """The images of a service, in memory."""

    engine = "Fake at fake://"

    def __init__(self) -> None:
        self.images: dict[str, ImageFacts] = {}
        self.sent: list[bytes] = []
        self.removed: list[str] = []
        self.gone: list[ImageFacts] = []
        """What has lost its name."""
        self.refusal = ""
        self.used = False

    def find(self, name: str) -> ImageFacts | None:
        """Find it."""
        return self.images.get(name)

    def architecture(self) -> str:
        """Return one."""
        return "x86_64"

    def load(self, data: Iterable[bytes], progress: Callable[[str], None]) -> None:
        """Take the name from it."""
        self.sent.append(b"".join(data))
        if self.refusal:
            raise RefusedError("refused", 500, self.refusal)
        with tarfile.open(fileobj=io.BytesIO(self.sent[-1])) as archive:
            manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        progress("loading")
        self.images[manifest[0]["RepoTags"][0]] = ImageFacts(f"id{len(self.sent)}")

    def import_root(self, name: str, data: Iterable[bytes], labels: Mapping[str, str]) -> None:
        """Keep it."""
        self.sent.append(b"".join(data))
        if self.refusal:
            raise RefusedError("refused", 500, self.refusal)
        if name in self.images:
            self.gone.append(self.images[name])
        self.images[name] = ImageFacts(f"id{len(self.sent)}", labels=labels)

    def tag(self, image: str, name: str) -> None:
        """Find it by that name too."""
        self.images[name] = next(facts for facts in [*self.images.values(), *self.gone] if facts.id == image)

    def remove(self, image: str) -> None:
        """Note it."""
        self.removed.append(image)
        if self.used:
            raise RefusedError("refused", 409, "a container has it")


def test_archive_is_brought_once(tmp_path: Path) -> None:
    """By its content: another file with the same is the same image, and another content another one."""
    store, lines = Store(), list[str]()
    for name, files in (("a", docker()), ("b", docker()), ("c", {"bin/sh": b"shell"})):
        (tmp_path / name).write_bytes(packed(files))
        facts = local_image(store, f"tar:{tmp_path}/{name}", lines.append)
        assert facts in store.images.values()
    assert [f"bringing {tmp_path}/a to Fake", "loading", f"bringing {tmp_path}/c to Fake"] == lines
    assert len(store.images) == 2
    assert all(name.startswith(f"{ARCHIVES}:") for name in store.images)
    assert packed({"bin/sh": b"shell"}) == store.sent[-1]


@pytest.mark.parametrize("kind", ["tar", "dir"])
def test_one_of_two_waits(tmp_path: Path, kind: str) -> None:
    """Two that bring the same at once bring it once: the first of two would lose its name, and stay without one."""
    store, gate, lines = Store(), threading.Event(), list[str]()
    import_root = store.import_root

    def import_late(name: str, data: Iterable[bytes], labels: Mapping[str, str]) -> None:
        assert gate.wait(20)
        import_root(name, data, labels)

    def progress(line: str) -> None:
        lines.append(line)
        if "another process" in line:
            gate.set()

    store.import_root = import_late  # type: ignore[method-assign]
    (tmp_path / "dir").mkdir()
    (tmp_path / "tar").write_bytes(packed({"bin/sh": b"shell"}))
    found: list[ImageFacts | None] = []
    reference = f"{kind}:{tmp_path}/{kind}"
    threads = [threading.Thread(target=lambda: found.append(local_image(store, reference, progress))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(found), found[0], len(store.sent)) == (2, found[1], 1)
    assert "another process makes the same image; waiting for it" in lines


def test_directory_is_brought_anew(tmp_path: Path) -> None:
    """When something in it has changed; the image before is removed, or gets another name if a container has it."""
    store, root = Store(), tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("one")
    first = directory_image(store, str(root), print)
    assert directory_image(store, str(root), print) == first
    for used in (False, True):
        store.used = used
        (root / "file").write_text(f"changed {used}")
        assert directory_image(store, str(root), print) != first
    assert store.removed == ["id1", "id2"]
    (name, facts), (other, before) = store.images.items()
    assert name.startswith(f"{DIRECTORIES}:")
    assert other.startswith(name[:-12])
    assert before.id == "id2"
    assert facts.labels == {CONTENT: fingerprint(root), MADE: "directory"}


def test_refused_image(tmp_path: Path) -> None:
    """The text has the image and the service's words."""
    store = Store()
    store.refusal = "no space left"
    (tmp_path / "x.tar").write_bytes(packed({"bin/sh": b""}))
    text = rf"^Fake at fake:// did not accept the image '(tar|dir):{tmp_path}.*': no space left$"
    with pytest.raises(EngineError, match=text):
        archive_image(store, f"{tmp_path}/x.tar", print)
    with pytest.raises(EngineError, match=text):
        directory_image(store, str(tmp_path), print)


@pytest.mark.parametrize(
    ("reference", "error", "said"),
    [
        ("tar:{}/none", ImageNotFoundError, "there is no file {}/none$"),
        ("tar:{}", ImageNotFoundError, "it is a directory: write image='dir:{}'$"),
        ("dir:{}/none", ImageNotFoundError, "there is none at {}/none$"),
        ("dir:{}/text", ImageNotFoundError, "it is a file: write image='tar:{}/text'$"),
        ("tar:{}/text", ConfigError, "^wrong config: image = 'tar:{}/text': .* it is no tar archive"),
    ],
)
def test_wrong_paths(tmp_path: Path, reference: str, error: type[Exception], said: str) -> None:
    """The text has the reference, what is wrong and what to write instead."""
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(error, match=said.replace("{}", str(tmp_path))):
        local_image(Store(), reference.replace("{}", str(tmp_path)), print)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can't be read names itself, and is not taken for a broken connection to the service."""
    (tmp_path / "secret").write_text("x")

    def refuse(path: object, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    text = rf"^the image 'dir:{tmp_path}' can't be read: Permission denied: '{tmp_path}/\./secret'\. Give one that this"
    with pytest.raises(ImageNotFoundError, match=text):
        directory_image(Store(), str(tmp_path), print)


def test_image_that_did_not_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that says nothing of it is not believed."""
    monkeypatch.setattr(Store, "find", lambda *_: None)
    with pytest.raises(EngineError, match=f"^Fake at fake:// took an archive, but has no image {DIRECTORIES}:"):
        directory_image(Store(), str(tmp_path), print)


def test_names_are_no_paths() -> None:
    """A name is the engine's to find."""
    assert local_image(Store(), "busybox:1", print) is None


def test_tree_as_an_archive(tmp_path: Path) -> None:
    """What is this user's belongs to root, links stay links, and nothing outside is read."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "hard").hardlink_to(tmp_path / "file")
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo")
    with tarfile.open(fileobj=io.BytesIO(b"".join(tree(tmp_path)))) as archive:
        members = {member.name: member for member in archive}
    assert {member.uid for member in members.values()} == {0}
    assert members["./link"].linkname == "/etc/passwd"
    assert members["./hard"].islnk()
    assert members["./fifo"].isfifo()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("busybox", ("busybox", "latest")),
        ("busybox:1", ("busybox", "1")),
        ("127.0.0.1:5000/a/b", ("127.0.0.1:5000/a/b", "latest")),
        ("127.0.0.1:5000/a/b:2", ("127.0.0.1:5000/a/b", "2")),
        ("a/b@sha256:00", ("a/b", "sha256:00")),
    ],
)
def test_split_reference(image: str, expected: tuple[str, str]) -> None:
    """A registry's port is no tag."""
    assert expected == split_reference(image)


def test_new_names() -> None:
    """A digest can't be chosen; a registry is told by its dot, its port, or its being localhost."""
    check_new_name("a:1")
    with pytest.raises(ConfigError, match="a name and tag, and no digest"):
        check_new_name("a@sha256:00")
    assert [has_registry(name) for name in ("a", "a/b", "a.b/c", "a:1/b", "localhost/a")] == [False] * 2 + [True] * 3


@pytest.mark.parametrize(
    ("image", "asked", "expected"),
    [
        ("linux/amd64", None, True),
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm", "linux/arm/v7", False),
        ("linux/arm64", "linux/arm", False),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
    ],
)
def test_platform_fits(image: str, asked: str | None, expected: bool) -> None:  # noqa: FBT001
    """A variant counts where one is asked for; that of arm64 goes without saying."""
    facts = ImageFacts("sha256:0", platform=image)
    assert expected == facts.fits(asked)
    if not expected:
        with pytest.raises(ImageNotFoundError, match=f"the image 'x' is of {image}, and {asked} is asked for"):
            facts.check_platform("x", asked)


def test_facts() -> None:
    """Paths of volumes are absolute, whatever an image says."""
    config: dict[str, Any] = {"Volumes": {"data/": {}, "/b": {}, "/": {}}, "User": None, "Labels": {"a": "b"}}
    found = {"Id": "sha256:1", "Os": "linux", "Architecture": "arm", "Variant": "v7", "Config": config}
    expected = ImageFacts("sha256:1", "arm", "", ("/b", "/data"), "linux/arm/v7", {"a": "b"})
    assert image_facts(found) == expected
    assert image_facts({"Id": "1", "Config": None}) == ImageFacts("1")


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    """Return a member's header with any type and size."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def pax(size: int, keyword: bytes = b"uname") -> bytes:
    """Return the content of a PAX header of one long value, in whole blocks."""
    length = size - size % 512
    head = b"%d %s=" % (length, keyword)
    return head + b"a" * (length - len(head) - 1) + b"\n"


MANY = 200
LONG = 1 << 20
SMALL = pax(LONG - 8192)
HOSTILE: dict[str, bytes] = {
    "long names one after the other": (header(b"L", LONG) + bytes(LONG)) * MANY,
    "PAX headers one after the other": (header(b"x", len(SMALL)) + SMALL) * MANY,
    "owners with long names": (header(b"x", len(SMALL)) + SMALL + header(b"0", 0)) * MANY,
    "headers for all members": b"".join(
        header(b"g", LONG // 2) + pax(LONG // 2, b"key%d" % number) + header(b"0", 0) for number in range(MANY)
    ),
    "a sparse file's endless map": header(b"S", 0)[:482]
    + b"\1"
    + header(b"S", 0)[483:]
    + (b"1" * 504 + b"\1" * 8) * (40 << 10),
}
"""200 MiB each, of which gzip makes far less than one."""

MEASURED = """
import pathlib, resource, sys
from samebox.engine.oci.bounded import ArchiveError
from samebox.engine.oci.image_archive import open_archive

def most():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) >> 10

import gzip, hashlib, json, tarfile, tempfile
before = most()
try:
    with open(sys.argv[1], "rb") as file, open_archive(file, "amd64") as (plain, image):
        print("opened", end=" ")
except ArchiveError as error:
    print("refused", end=" ")
print(most() - before)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_memory_of_hostile_headers(tmp_path: Path, name: str) -> None:
    """What no member needs is refused, or costs no more than a few of the longest headers."""
    archive = tmp_path / "hostile.tar.gz"
    archive.write_bytes(gzip.compress(HOSTILE[name], 1))
    done = subprocess.run([sys.executable, "-c", MEASURED, archive], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    how, grown = done.stdout.split()
    assert how in {b"refused", b"opened"}
    assert int(grown) < 32, f"{grown.decode()} MiB"


@pytest.mark.parametrize("blob", ["manifest", "config", "layer"])
def test_blobs_are_of_their_digests(blob: str) -> None:
    """An archive that was changed on its way is not taken for the image that its digests name."""
    files = oci({"os": "linux", "architecture": "amd64"})
    names = [name for name in files if name.startswith("blobs/")]
    words = {"manifest": b"layers", "config": b"config", "layer": b""}
    victims = [name for name in names if words[blob] in bytes(files[name])]  # type: ignore[arg-type]
    victim = victims[0]
    files[victim] = bytes(files[victim]) + b" "  # type: ignore[arg-type]
    with pytest.raises(
        ArchiveError, match=rf"the blob sha256:{victim[-64:]} has other content, of the digest [0-9a-f]{{64}}"
    ):
        loaded(packed(files))


def test_digests_that_nothing_can_check() -> None:
    """A digest by an unknown algorithm is as good as none."""
    files = {
        "oci-layout": b"{}",
        "index.json": text({"manifests": [{"digest": f"md5:{'0' * 32}"}]}),
        f"blobs/md5/{'0' * 32}": b"{}",
    }
    with pytest.raises(ArchiveError, match="a digest by 'md5'; sha256 and sha512 can be checked"):
        loaded(packed(files))
