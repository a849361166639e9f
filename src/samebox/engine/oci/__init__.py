"""OCI: what engines of containers have in common, as those of Docker and Podman, for a third party's engine as well.

Each module has one noun, and is plain functions and small classes; none of it has to be used. It imports
`samebox.config`, `samebox.errors`, `samebox.capabilities` and the contract in `samebox.engine`, no client library of an
engine, and nothing that is built on engines.
"""
