"""Conformance: the suite that holds every engine to one contract, tested from the same source.

    pytest --pyargs samebox.conformance --engine podman

`contract` is the contract, tests alone: there is nothing to subclass and nothing to override. The modules here run and
judge the tests; `plugin` is the installed pytest plugin, which stays out of the way of every other run; `report` shows
what a run has found.

It imports `samebox.sandbox` and what is below that; it knows nothing of the command line.
"""
