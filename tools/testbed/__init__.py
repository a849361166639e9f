"""Real engines for the tests, beside whatever this machine already runs.

`layout` says where things live, `process` starts and ends daemons, `host` asks what this machine can do, `dockerd`
and `podman` are the engines, `images` makes the test images without a registry, and `bed` puts it all together.
`tools/engines.py` is the command line.
"""
