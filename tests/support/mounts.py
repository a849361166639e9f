"""Bind mounts and named volumes: what each engine of containers promises.

A plugin's tests give `engine`, `make` and `remove_volume`, and beside them

* `shared`, a directory of this host that the engine's user reaches and may write,
* `foreign`, the name of a volume that samebox did not make,
* `in_use`, what the engine says of a volume that is in use,
* `failing`, settings of sandboxes that it can't make, each with what it says.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from samebox.errors import ConfigError, EngineError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox
    from samebox.engine import Engine


@pytest.fixture
def volume(remove_volume: Callable[[str], None]) -> Iterator[str]:
    """Return a name for a volume, which is gone after the test."""
    name = f"samebox-test-{secrets.token_hex(6)}"
    yield name
    remove_volume(name)


def assert_workdir_on_a_volume(make: Callable[..., Sandbox], volume: str, settings: dict[str, Any]) -> None:
    """Fail where a workdir on a volume that was used before is not the user's, or something else there is."""
    target = settings.get("mounts", "/data")
    settings = {"workdir": target, **settings, "mounts": [f"{volume}:{target}"]}
    with make(mounts=[f"{volume}:/other"]) as box:
        box.write_text("/other/of-root", "x")
    with make(**settings, user="65534:65534") as box:
        box.write_text("file", "x")
        assert box.sh(f"stat -c %u . file {target}/of-root").text.split() == ["65534", "65534", "0"]


@pytest.mark.parametrize("mode", [0o755, 0o777], ids=oct)
def test_host_directory_keeps_its_owner(make: Callable[..., Sandbox], shared: Path, mode: int) -> None:
    """A workdir on a bind mount stays the host's, whoever the sandbox's user is."""
    shared.chmod(mode)
    before = shared.stat()
    with make(mounts=[f"{shared}:/workspace"], user="65534:65534") as box:
        assert box.exec(["pwd"]).text == "/workspace\n"
        assert box.sh("touch file").ok == (mode == 0o777)
    after = shared.stat()

    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)


@pytest.mark.parametrize(
    "settings",
    [{}, {"workdir": "/data/below"}, {"tmpfs": ["/data"], "mounts": "/data/below"}, {"mounts": "/workspace"}],
    ids=str,
)
def test_workdir_on_a_volume(make: Callable[..., Sandbox], volume: str, settings: dict[str, Any]) -> None:
    """A workdir on a volume belongs to the user, also when the volume was used before; what else is there does not."""
    assert_workdir_on_a_volume(make, volume, settings)


def test_foreign_volume(make: Callable[..., Sandbox], engine: Engine, foreign: str) -> None:
    """A volume that samebox did not make can be used; it is neither listed nor removed."""
    with make(mounts=[f"{foreign}:/data"]) as box:
        box.write_text("/data/file", "x")

    assert foreign not in {status.name for status in engine.volumes()}
    with pytest.raises(EngineError, match="was not made by samebox, and is not removed"):
        engine.remove_volume(foreign)


def test_volume_in_use(make: Callable[..., Sandbox], engine: Engine, volume: str, in_use: str) -> None:
    """A volume in use is not removed, in the engine's words; nor one whose name only begins like that."""
    with make(mounts=[f"{volume}:/data"]), pytest.raises(EngineError, match=in_use):
        engine.remove_volume(volume)
    engine.remove_volume(volume[:-2])
    (status,) = [status for status in engine.volumes() if status.name == volume]

    assert status.created is not None
    assert status.labels["samebox.managed"] == "1"
    engine.remove_volume(volume)
    assert volume not in {status.name for status in engine.volumes()}


def test_failed_create_leaves_no_volume(
    make: Callable[..., Sandbox], engine: Engine, volume: str, failing: list[tuple[dict[str, Any], str]]
) -> None:
    """A sandbox that could not be made leaves no new volume, and one that was there stays."""

    def left() -> list[bool]:
        found = []
        for settings, said in failing:
            with pytest.raises(SandboxError, match=said):
                make(mounts=[f"{volume}:/data"], **settings).start()
            found.append(volume in {status.name for status in engine.volumes()})
        return found

    assert not any(left())
    with make(mounts=[f"{volume}:/data"]):
        pass
    assert all(left())


def test_agents_volume(make: Callable[..., Sandbox]) -> None:
    """The agent's volumes can't be mounted: whoever writes there runs in every sandbox."""
    with pytest.raises(ConfigError, match="is a volume of the agent's"):
        make(mounts=["samebox-agent-0123456789abcdef:/agent"]).start()
