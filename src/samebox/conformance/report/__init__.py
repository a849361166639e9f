"""Report: the results of a run of the suite as JSON, JUnit XML, an HTML page and a summary for a terminal.

This package imports `samebox.conformance.verdicts` and the modules that define profiles and tests; it knows nothing of
pytest's session.
"""
