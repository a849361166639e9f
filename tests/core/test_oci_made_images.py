"""Images that samebox has made on a service: which they are, and what is taken away of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.engine.images import ImageStatus
from samebox.engine.labels import MADE
from samebox.engine.oci.image_facts import ImageFacts
from samebox.engine.oci.made_images import SNAPSHOTS, MadeImages, last_use, note_use
from samebox.engine.oci.refusal import RefusedError
from samebox.errors import EngineError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BUILD = "localhost/samebox-build:abc"
TAR = "localhost/samebox-tar:abc"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Service:
    """Images in memory, by their ids."""

    engine = "Fake at fake://"

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.users: list[dict[str, Any]] = []
        self.before_untag: Callable[[str], None] = lambda _name: None

    def add(self, identity: str, *names: str, made: str | None = None, created: float = 5) -> None:
        """Add an image."""
        labels = {MADE: made} if made else None
        self.rows[identity] = {
            "Id": identity,
            "RepoTags": [*names] or None,
            "Labels": labels,
            "Created": created,
            "Size": 7,
        }

    def find(self, name: str) -> ImageFacts | None:
        """Find it."""
        for row in self.rows.values():
            if name == row["Id"] or name in (row["RepoTags"] or ()):
                return ImageFacts(row["Id"], labels=row["Labels"] or {})
        return None

    def images(self) -> list[dict[str, Any]]:
        """List them."""
        return [{**row, "RepoTags": [*(row["RepoTags"] or ())] or ["<none>:<none>"]} for row in self.rows.values()]

    def containers(self) -> list[dict[str, Any]]:
        """List them."""
        return self.users

    def tag(self, image: str, name: str) -> None:
        """Move the name."""
        full = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        for row in self.rows.values():
            row["RepoTags"] = [each for each in row["RepoTags"] or () if each != full]
        self.rows[image]["RepoTags"].append(full)

    def untag(self, name: str) -> None:
        """Take the name away, and with the last one the image."""
        self.before_untag(name)
        for row in [*self.rows.values()]:
            if name in row["RepoTags"]:
                if len(row["RepoTags"]) == 1:
                    if row["Id"] in {user["ImageID"] for user in self.users}:
                        raise RefusedError("refused", 409, "a container has it")
                    del self.rows[row["Id"]]
                else:
                    row["RepoTags"].remove(name)


def test_what_is_listed() -> None:
    """What has one of samebox's own names, whatever its labels; with the names that a config takes."""
    service = Service()
    service.add("1", "app:latest", f"{SNAPSHOTS}:x", made="snapshot")
    service.add(
        "2", BUILD, "registry.example.com/app:1", "localhost/team/app:latest", made="build", created=-62135596800
    )
    service.add("3", "derived:1", made="snapshot")
    service.add("4", "pulled:1", TAR)
    service.add("5", f"{SNAPSHOTS}:y", made="snapshot")
    service.add("6")
    service.users = [{"ImageID": "1", "Names": ["/box"]}, {"ImageID": "3", "Names": ["other"]}]

    found = {image.id: image for image in MadeImages(service).list()}
    assert found.keys() == {"1", "2", "4", "5"}
    assert found["1"] == ImageStatus("1", "snapshot", ("app",), 7, 5.0, None, ("box",))
    assert (found["2"].kind, found["2"].created) == ("build", None)
    assert found["2"].names == (BUILD, "localhost/team/app", "registry.example.com/app:1")
    assert (found["4"].kind, found["4"].names, found["5"].names) == ("archive", (TAR,), ())
    podman = {image.id: image.names for image in MadeImages(service, local=True).list()}
    assert podman["2"] == (BUILD, "team/app", "registry.example.com/app:1")


def test_what_is_removed() -> None:
    """All names of what has the label, and of what has none only samebox's own."""
    service = Service()
    service.add("1", "app:latest", BUILD, made="build")
    service.add("2", "pulled:1", TAR)
    made = MadeImages(service)
    made.remove("app:latest")
    assert service.rows.keys() == {"2"}
    with pytest.raises(EngineError, match=r"^the image 'pulled:1' on Fake at fake:// was not made by samebox, and is"):
        made.remove("pulled:1")
    made.remove("2")
    assert service.rows["2"]["RepoTags"] == ["pulled:1"]
    with pytest.raises(ImageNotFoundError, match=r"^there is no image 'x' that samebox made on Fake at fake://; `same"):
        made.remove("x")


@pytest.mark.parametrize("told", [True, False])
def test_a_container_that_is_faster(*, told: bool) -> None:
    """What was taken away until the service refuses comes back, and the text says who has it now."""
    service = Service()
    service.add("1", "app:latest", BUILD, made="build")

    def create(name: str) -> None:
        if name == BUILD:
            service.users = [{"ImageID": "1", "Names": ["box"]}]

    service.before_untag = create
    made = MadeImages(service)
    if not told:  # as of a builder's container, which is in no list
        service.containers = list  # type: ignore[method-assign]
    said = "is in use by box; remove that first" if told else "could not remove the image 'app': a container has it"
    with pytest.raises(EngineError, match=said):
        made.remove("app")
    assert sorted(service.rows["1"]["RepoTags"]) == ["app:latest", BUILD]


def test_a_snapshot_gets_its_name() -> None:
    """The one before is removed if it has no other name and nobody has it; a name that fails leaves nothing."""
    service = Service()
    numbers = iter(range(10))

    def commit(name: str) -> str:
        identity = f"id{next(numbers)}"
        service.add(identity, name, made="snapshot")
        return identity

    made = MadeImages(service)
    for other in (None, "kept:1", None):
        made.keep("snap:latest", commit)
        if other:
            (image,) = [image for image in made.list() if image.called("snap")]
            service.tag(image.id, other)
    assert {identity: len(row["RepoTags"]) for identity, row in service.rows.items()} == {"id1": 2, "id2": 2}
    service.users = [{"ImageID": "id2", "Names": ["box"]}]
    made.keep("snap:latest", commit)
    assert [image.names for image in made.list() if image.id == "id2"] == [()]
    service.tag = _refuse  # type: ignore[method-assign]
    with pytest.raises(RefusedError, match="no such name"):
        made.keep("other:latest", commit)
    assert "id4" not in service.rows


def _refuse(image: str, name: str) -> None:
    raise RefusedError("no such name")


def test_use_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what samebox has made, in this user's cache; without one nothing is known, and nothing fails."""
    made, loaded, pulled = ImageFacts("sha256:1", labels={MADE: "build"}), ImageFacts("2"), ImageFacts("3")
    before = time.time()
    note_use(made)
    note_use(loaded, "tar:/x.tar")
    note_use(pulled, "pulled:1")
    used = last_use("sha256:1")
    assert used is not None
    assert before - 1 < used < time.time() + 1
    assert last_use("2") is not None
    assert last_use("3") is None
    service = Service()
    service.add("2", TAR)
    MadeImages(service).remove("2")
    assert last_use("2") is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    note_use(made)
    assert last_use("sha256:1") is None
