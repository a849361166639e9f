"""What a sandbox is made of, removed or damaged behind its back: its image, volume, network and agent."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samebox import Sandbox, SandboxError
from samebox.config.mounts import Mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fault_bed import Service, Table
    from footprint import Footprint

pytestmark = pytest.mark.timeout(180)

TIMEOUT = 20.0
NO_SERVICE = "there is none: it runs in the process that uses it"


@pytest.fixture
def name() -> str:
    """Return a name for a part that is the test's own."""
    return f"faults-{secrets.token_hex(4)}"


def _on(box: Sandbox) -> None:
    assert box.exec(["echo", "on"], timeout=TIMEOUT).text == "on\n"


def _outcome(call: Callable[[], object]) -> str:
    """Return what came of a call in words; an error that is not samebox's own is a failure."""
    try:
        call()
    except SandboxError as error:
        return type(error).__name__
    return "works"


def _by_force(engine: Service, *words: str) -> str:
    """Run the service's command line, and return "" or why it refuses."""
    try:
        engine.program(*words)
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip().splitlines()[-1]
    return ""


def test_image(engine: Service, name: str, tmp_path: Path, table: Table, footprint: Footprint) -> None:
    """A sandbox lives on when its image goes; the next start says that it is missing, until it is back."""
    settings = engine.settings()
    if engine.is_embedded:
        image, source = tmp_path / "image", settings["image"].removeprefix("dir:")
        shutil.copytree(source, image, symlinks=True)
        settings["image"] = f"dir:{image}"

        def remove() -> None:
            image.rename(tmp_path / "away")

        def give_back() -> None:
            (tmp_path / "away").rename(image)

    else:
        settings["image"] = f"localhost/{name}:latest"

        def remove() -> None:
            engine.program("rmi", "--force", settings["image"])

        def give_back() -> None:
            engine.program("tag", engine.settings()["image"], settings["image"])

        settings["pull"] = "never"
        give_back()
    with Sandbox(**settings) as box:
        _on(box)
        remove()
        _on(box)
        box.write_text("file", "kept")
        assert box.read_text("file") == "kept"
    seen = _outcome(lambda: Sandbox(**settings).start().close())
    assert seen in {"ImageNotFoundError", "ConfigError"}
    give_back()
    with Sandbox(**settings) as box:
        _on(box)
    remove()
    table.add(
        "image removed", "sandboxes live on; the next start says that it is missing", engine.name, f"lives on; {seen}"
    )


def test_volume(engine: Service, name: str, table: Table, footprint: Footprint) -> None:
    """A volume that is used can't be removed by samebox; one that was removed by force ends nothing but its files."""
    settings = engine.settings(mounts=[Mount(type="volume", source=name, target="/data")])
    with Sandbox(**settings) as box:
        box.write_text("/data/file", "kept")
        assert box.engine is not None
        with pytest.raises(SandboxError, match=name):
            box.engine.remove_volume(name)
        assert box.read_text("/data/file") == "kept"
        known = box.engine
    with Sandbox(**settings) as box:
        assert box.read_text("/data/file") == "kept"
    known.remove_volume(name)
    with Sandbox(**settings) as box:
        assert not box.exists("/data/file")
        _on(box)
    known.remove_volume(name)
    known.close()
    table.add(
        "volume removed", "refused while it is used; made anew by the next start", engine.name, "refused; made anew"
    )


def test_network(engine: Service, name: str, table: Table, footprint: Footprint) -> None:
    """A sandbox whose network goes answers on; the next start says that there is none of the name."""
    row, promised = "network removed", "the sandbox answers on; the next start says that it is missing"
    if engine.is_embedded:
        table.add(row, promised, engine.name, "there are no networks by name")
        return
    why = _by_force(engine, "network", "create", name)
    if why:
        table.add(row, promised, engine.name, f"this host's service makes none: {why}")
        return
    try:
        try:
            box = Sandbox(**engine.settings(network=name)).start()
        except SandboxError as error:
            table.add(row, promised, engine.name, f"this host gives none: {str(error)[-120:]}")
            return
        with box:
            _on(box)
            refused = _by_force(engine, "network", "rm", name)
            if engine.engine == "docker":
                engine.program("network", "disconnect", "--force", name, box.id)
            _on(box)
            if not refused:
                assert not box.exec(["false"], timeout=TIMEOUT).ok
    finally:
        _by_force(engine, "network", "rm", *(["--force"] if engine.engine == "podman" else []), name)
    seen = _outcome(lambda: Sandbox(**engine.settings(network=name)).start().close())
    assert seen == "ConfigError"
    table.add(row, promised, engine.name, f"{'refused while used' if refused else 'answers on'}; then {seen}")


@contextlib.contextmanager
def _agent_volume(engine: Service) -> Iterator[str]:
    volumes = engine.program("volume", "ls", "--quiet").split()
    yield next(volume for volume in volumes if volume.startswith("samebox-agent-"))


def _damages(place: Path) -> dict[str, Callable[[], None]]:
    def cut() -> None:
        data = (place / "agent").read_bytes()
        (place / "agent").unlink()
        (place / "agent").write_bytes(data[:1000])
        (place / "agent").chmod(0o111)

    def replace() -> None:
        (place / "agent").unlink()
        (place / "agent").write_bytes(b"#!/bin/sh\necho no agent\n")
        (place / "agent").chmod(0o755)

    return {
        "removed": (place / "agent").unlink,
        "cut": cut,
        "replaced by another program": replace,
        "forbidden to run": lambda: (place / "agent").chmod(0o600),
    }


@pytest.mark.parametrize("damage", ["removed", "cut", "replaced by another program", "forbidden to run"])
def test_agent(engine: Service, damage: str, table: Table, footprint: Footprint) -> None:
    """A sandbox that runs goes on; the next start delivers the agent anew."""
    row, promised = f"agent {damage} in its volume", "sandboxes go on; the next start heals it"
    if engine.is_embedded:
        table.add(row, promised, engine.name, NO_SERVICE)
        return
    with Sandbox(**engine.settings()) as box, _agent_volume(engine) as volume:
        _on(box)
        place = Path(engine.program("volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip())
        if not os.path.exists(place / "agent"):
            table.add(row, promised, engine.name, "not tried: its storage can't be seen from here")
            return
        before = (place / "agent").stat()
        _damages(place)[damage]()
        _on(box)
        began = time.monotonic()
        with Sandbox(**engine.settings()) as other:
            _on(other)
        assert time.monotonic() - began < 60
        after = (place / "agent").stat()
        assert (after.st_size, after.st_mode, after.st_uid) == (before.st_size, before.st_mode, before.st_uid)
        _on(box)
    table.add(row, promised, engine.name, "goes on; healed")


def test_agent_volume(engine: Service, table: Table, footprint: Footprint) -> None:
    """The whole volume is made anew once it is gone."""
    row, promised = "agent's volume removed while nothing uses it", "the next start makes it anew"
    if engine.is_embedded:
        table.add(row, promised, engine.name, NO_SERVICE)
        return
    with _agent_volume(engine) as volume:
        engine.program("volume", "rm", "--force", volume)
        with Sandbox(**engine.settings()) as box:
            _on(box)
        assert volume in engine.program("volume", "ls", "--quiet").split()
    table.add(row, promised, engine.name, "made anew")
