"""Real engines for the tests, beside whatever this machine already runs.

`layout` says where things live and `state` records what was made; `process` starts and ends daemons; `host` asks what
this machine can do; `dockerd` and `podman` are the engines; `rootfs` and `images` make the test images without a
registry; `bed` puts it all together, and `tools/engines.py` is its command line. Nothing but the standard library is
imported: this runs before anything is installed.
"""
