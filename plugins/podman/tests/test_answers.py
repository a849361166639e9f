"""What a service answers in a form that Podman does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from samebox_podman import host
from wrong_answers import *  # noqa: F403 - its tests

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes the process know nothing of the service."""
    known: dict[str, host.PodmanHost] = {}
    monkeypatch.setattr(host, "_HOSTS", known)
    return known.clear
