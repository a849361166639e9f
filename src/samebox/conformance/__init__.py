"""The conformance suite: one contract, tested on every engine from the same source.

    pytest --pyargs samebox.conformance --engine podman

`plugin` is the installed pytest plugin; it stays out of the way of every other run. `test_*.py` are the contract;
there is nothing to subclass and nothing to override.
"""
