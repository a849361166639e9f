"""The names of the labels that mark what samebox has made, the same on every engine."""

from __future__ import annotations

MANAGED = "samebox.managed"
"""Set to "1" on all that samebox has made."""
OWNER = "samebox.owner"
"""The process that made a sandbox."""
NAME = "samebox.name"
"""The sandbox's name."""
VERSION = "samebox.version"
"""The version of samebox that made the sandbox."""
KEEP = "samebox.keep"
"""Set to "1" on a sandbox that is to outlive its owner."""
ATTEMPT = "samebox.attempt"
"""One try to make a sandbox: what an interrupted one has left is known by it."""
CONFIG = "samebox.config"
"""The record of the config that a sandbox was made with (`samebox.config.record`)."""
MADE = "samebox.made"
"""Set to "archive", "build", "directory" or "snapshot" on an image that samebox has made. What others build on such an
image has the label too, so the label alone does not make an image samebox's; see `samebox.engine.oci.made_images`."""
ISOLATION = "samebox.isolation"
"""The tier of isolation that a sandbox was made at."""
