"""What the tests of the bubblewrap engine share: sandboxes that leave nothing behind, and ways to look at this host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from real_engine import not_here
from samebox import Sandbox
from samebox.errors import EngineUnavailableError
from samebox_bubblewrap.engine import BubblewrapEngine
from samebox_bubblewrap.sandboxes import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUSYBOX = ("/usr/bin/busybox", "/bin/busybox")
"""Where Debian's busybox-static may be."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache of images for the whole run."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def engine(cache: Path) -> BubblewrapEngine:
    """Return an engine, or say why there is none on this host."""
    engine = BubblewrapEngine({"cache_dir": str(cache)})
    try:
        engine.probe()
    except EngineUnavailableError as error:
        not_here(str(error))
    return engine


@pytest.fixture
def make_box(engine: BubblewrapEngine, cache: Path) -> Iterator[Callable[..., Sandbox]]:
    """Return what makes sandboxes; they are closed after the test whatever happens."""
    assert engine.name == "bubblewrap"
    boxes: list[Sandbox] = []

    def make(**settings: Any) -> Sandbox:
        options = {"cache_dir": str(cache), **settings.pop("options", {})}
        boxes.append(Sandbox(engine="bubblewrap", options=options, **settings))
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()


@pytest.fixture
def no_images(engine: BubblewrapEngine) -> Iterator[None]:
    """Remove the images that a test makes; those without a name go with their last sandbox."""
    yield
    for registered in registry.records():
        registry.remove(registered.id)
    for image in engine.images():
        engine.remove_image(image.id)


@pytest.fixture
def box(make_box: Callable[..., Sandbox]) -> Sandbox:
    """Return a sandbox with every default."""
    return make_box()


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root file system with busybox and a user, as an image would have it."""
    found = next((Path(path) for path in BUSYBOX if Path(path).exists()), None)
    if found is None:
        not_here("there is no busybox in /usr/bin or /bin; `apt-get install busybox-static`")
    root = tmp_path_factory.mktemp("images") / "rootfs"
    fill(root, found)
    return root


def fill(root: Path, busybox: Path) -> None:
    """Put a small system into a directory."""
    for name in ("bin", "etc", "tmp", "home/alice", "var"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "bin/busybox").write_bytes(busybox.read_bytes())
    (root / "bin/busybox").chmod(0o755)
    for name in ("cat", "chmod", "echo", "env", "hostname", "id", "ls", "mkdir", "rm", "sh", "sleep", "touch", "true"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1234:1235:Alice:/home/alice:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nalice:x:1235:\nstaff:x:50:alice\n")
