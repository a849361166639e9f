"""The agent: one small program inside every sandbox, and the host's side of its wire protocol (docs/protocol.md)."""
