"""Conformance: the suite that holds every engine to one contract, by the same tests.

    pytest --pyargs samebox.conformance --engine podman

`contract` is the contract itself, and has tests alone: there is nothing to subclass and nothing to override. The
modules of this package run and judge the tests; `plugin` is the installed pytest plugin, which stays out of the way of
every other run; `report` shows what a run has found.

This package imports `samebox.sandbox` and what is below sandbox; it knows nothing of the command line.
"""
