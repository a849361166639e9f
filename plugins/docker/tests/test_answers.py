"""What a daemon answers in a form that Docker does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from samebox_docker import daemon
from wrong_answers import *  # noqa: F403 - its tests

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes the process know nothing of the daemon."""
    known: dict[object, object] = {}
    monkeypatch.setattr(daemon, "_daemons", known)
    return known.clear
