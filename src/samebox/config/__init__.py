"""Config: the model of a sandbox's settings, and the sources that the settings are read from.

This package imports `samebox.errors` and `samebox.capabilities`, and knows no engine and no plugin.
"""
