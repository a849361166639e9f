"""The test bed: real engines for the tests, beside the engines that this machine already runs.

`layout` has the bed's paths and names, and `state` records what was made; `process` starts and ends daemons; `host`
finds out what this machine can do; `dockerd` and `podman` are the engines; `rootfs` and `images` make the test images
without a registry; `bed` puts all of these together, and `tools/engines.py` is the command line. Nothing but the
standard library is imported, as the bed is made before anything is installed.
"""
