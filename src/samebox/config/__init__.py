"""Config: the model of what a sandbox is asked to be, and what that is read from.

It imports `samebox.errors` and `samebox.capabilities`; it knows no engine and no plugin.
"""
