"""GPUs by CDI, the Container Device Interface: what its specifications on a service's host offer.

https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

PLACES = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where Podman looks for specifications."""
_KIND = re.compile(r"""\bkind["']?\s*:\s*["']?[\w.-]+/gpu(?![\w.-])""")
"""The line of a specification, in YAML or JSON, that says what it describes."""
_LIMIT = 1 << 20


def no_gpus(scheme: str) -> str | None:
    """Return why a service has no GPUs to give; None: it has, or runs on another host, where that can't be told.

    Args:
        scheme: How it is reached.
    """
    if scheme != "unix" or any(map(_describes, (path for place in PLACES for path in sorted(place.glob("*"))))):
        return None
    return (
        f"no GPU is described below {' or '.join(map(str, PLACES))} on this host, which is how Podman finds them; "
        "install the NVIDIA Container Toolkit and run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
    )


def _describes(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        return _KIND.search(file.read(_LIMIT)) is not None
    return False
