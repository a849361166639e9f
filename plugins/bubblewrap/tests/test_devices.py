"""Devices of the host: given without the power to change them for the host."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox


def test_device_is_given(make_box: Callable[..., Sandbox]) -> None:
    """It is there with its numbers, in a directory of its own too, can be used, and belongs to nobody inside."""
    box = make_box(devices=["/dev/zero:/dev/a/b/zero", "/dev/full:/dev/mine"])
    assert box.exec(["head", "-c", "3", "/dev/a/b/zero"]).stdout == bytes(3)
    assert b"space" in box.sh("head -c 10 /dev/zero > /dev/mine").stderr.lower()
    assert box.sh("stat -c '%t %T %F' /dev/a/b/zero").text == "1 5 character special file\n"


def test_host_node_is_not_the_guests_to_change(make_box: Callable[..., Sandbox]) -> None:
    """A chmod from inside fails, as root as well, and the host's node stays as it is."""
    before = stat.S_IMODE(Path("/dev/full").stat().st_mode)
    box = make_box(devices=["/dev/full:/dev/mine"], user="0")
    assert not box.sh("chmod 000 /dev/mine").ok
    assert not box.sh("rm -f /dev/mine").ok
    assert stat.S_IMODE(Path("/dev/full").stat().st_mode) == before


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("/dev/no-such-device", "No such file"),
        ("/dev/shm:/dev/mine", "it is no device"),
        ("/dev/full:/dev/null", "has already"),
        ("/dev/full:/dev/fd/7", "has already"),
        ("/dev/full:/dev/pts/x", "has already"),
    ],
)
def test_wrong_devices(make_box: Callable[..., Sandbox], device: str, said: str) -> None:
    """What is no device, or would hide the sandbox's own, is an error with the device."""
    with pytest.raises(ConfigError, match=f"the device {device.split(':', maxsplit=1)[0]!r}.*{said}"):
        make_box(devices=[device]).start()


def test_half_a_device(make_box: Callable[..., Sandbox]) -> None:
    """Reading alone can't be had, and is refused."""
    with pytest.raises(UnsupportedError, match="for reading and writing, or not at all") as caught:
        make_box(devices=["/dev/zero:/dev/mine:r"]).start()
    assert caught.value.capability is Capability.DEVICES


def test_device_that_this_user_may_not_use(make_box: Callable[..., Sandbox]) -> None:
    """An ordinary user gives no device that the user may not open."""
    if os.geteuid() == 0:
        pytest.skip("root may use every device")
    device = next(path for path in Path("/dev").iterdir() if path.is_block_device() or path.name == "kmsg")
    if os.access(device, os.R_OK | os.W_OK):
        pytest.skip("this user may use every device that was found")
    with pytest.raises(UnsupportedError, match="this user may not read and write"):
        make_box(devices=[str(device)]).start()
