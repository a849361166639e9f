"""Images: the building of images from contexts, Dockerfiles and presets, shared by every engine with a build API.

This package imports `samebox.engine` and what is below engine; it knows nothing of a sandbox's lifecycle.
"""
