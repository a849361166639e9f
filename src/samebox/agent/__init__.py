"""Agent: the one small program inside every sandbox, in C, and the host's side of its wire protocol (docs/protocol.md).

It imports `samebox.guest`, `samebox.engine` and what is below them; it knows nothing of a sandbox's lifecycle.
"""
