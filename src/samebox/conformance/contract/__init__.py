"""Contract: what every engine promises, as tests, one module a subject.

It imports the rooms of the core; it knows nothing of how verdicts are made and reported.
"""
