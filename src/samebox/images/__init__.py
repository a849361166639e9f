"""Images: what is built and how, contexts, Dockerfiles and presets, the same for every engine with a build API.

It imports `samebox.engine` and what is below that; it knows nothing of a sandbox's lifecycle.
"""
