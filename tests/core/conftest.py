"""hypothesis on a machine that does other things at the same time: how long an example takes says nothing there."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("samebox", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("samebox")
