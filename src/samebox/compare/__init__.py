"""Compare: the posture and speed of two engines, which `samebox compare` shows beside the suite's results.

This package imports `samebox.sandbox`, `samebox.conformance.report` and what is below them; it knows nothing of the
command line.
"""
