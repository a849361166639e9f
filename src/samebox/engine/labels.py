"""The labels by which samebox knows what it has made, on every engine alike."""

from __future__ import annotations

MANAGED = "samebox.managed"
"""Set to "1" on all that samebox made."""
OWNER = "samebox.owner"
"""The process that made a sandbox."""
NAME = "samebox.name"
"""The sandbox's name."""
VERSION = "samebox.version"
"""The samebox that made it."""
KEEP = "samebox.keep"
"""Set to "1" on a sandbox that is to outlive its owner."""
ATTEMPT = "samebox.attempt"
"""One try to make a sandbox: what an interrupted one has left is known by it."""
CONFIG = "samebox.config"
"""What a sandbox was made with."""
