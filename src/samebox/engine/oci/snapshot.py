"""What the image of a snapshot says of its containers: what the image of the first one said.

A service takes what the container has, the agent as entrypoint and samebox's labels among it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.engine.labels import MADE
from samebox.engine.oci.status import text_labels

if TYPE_CHECKING:
    from collections.abc import Mapping


def snapshot_config(container: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a snapshot's image, in the words that Docker, Podman and the OCI share.

    Docker fills up what is empty with the container's own. So labels are emptied, as none can be taken away, and what
    was not set is said in other words.

    Args:
        container: The container's config, from the answer of inspect.
        origin: That of the image that it was made from.
    """
    return {
        "Entrypoint": origin.get("Entrypoint") or [],
        "Cmd": origin.get("Cmd") or [],
        "User": origin.get("User") or "0",
        "WorkingDir": origin.get("WorkingDir") or "/",
        "Labels": dict.fromkeys(text_labels(container), "") | text_labels(origin) | {MADE: "snapshot"},
    }
