"""Each engine in turn. With SAMEBOX_REQUIRE_ENGINES, one that can't be reached is a failure, never a skip."""

from __future__ import annotations

import os

import pytest

from samebox import SandboxError
from samebox.engine.registry import make_engine
from targets import TARGETS, Target


@pytest.fixture(scope="session", params=TARGETS, ids=lambda target: target.name)
def target(request: pytest.FixtureRequest) -> Target:
    """Each engine in turn."""
    found: Target = request.param
    engine = make_engine(found.engine, found.options)
    trouble = "" if "SAMEBOX_TEST_IMAGE_DIR" in os.environ else "run the tests by tools/engines.py run -- ..."
    try:
        engine.probe()
    except SandboxError as error:
        trouble = str(error)
    finally:
        engine.close()
    if trouble and os.environ.get("SAMEBOX_REQUIRE_ENGINES"):
        pytest.fail(f"{found.name} has to be reached: {trouble}")
    if trouble:
        pytest.skip(f"{found.name}: {trouble}")
    return found
