"""Agent: the small C program inside every sandbox, and the host's side of its wire protocol (docs/protocol.md).

This package imports `samebox.guest`, `samebox.engine` and what is below them; it knows nothing of a sandbox's
lifecycle.
"""
