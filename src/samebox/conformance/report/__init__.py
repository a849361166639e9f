"""Report: what a run of the suite has found, as JSON, JUnit XML, a page and a summary for a terminal.

It imports the verdicts and profiles beside it; it knows nothing of pytest's session.
"""
