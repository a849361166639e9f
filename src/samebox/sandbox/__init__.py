"""Sandbox: what users hold, from the choice of an engine to the removal, and the inventory of what was left.

It imports every room below, `samebox.agent`, `samebox.guest`, `samebox.images`, `samebox.engine` and `samebox.config`;
it knows nothing of the command line.
"""
