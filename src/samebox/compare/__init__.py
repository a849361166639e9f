"""Compare: what `samebox compare` measures and shows beside the suite's results, two engines side by side.

It imports `samebox.sandbox`, `samebox.conformance.report` and what is below them; it knows nothing of the command line.
"""
