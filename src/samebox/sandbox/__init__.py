"""Sandbox: the objects that users hold, a sandbox's life from the choice of its engine on, and the inventory.

This package imports every package below it, `samebox.agent`, `samebox.guest`, `samebox.images`, `samebox.engine` and
`samebox.config`; it knows nothing of the command line.
"""
