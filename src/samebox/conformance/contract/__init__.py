"""Contract: the promises of every engine as tests, in one module for each subject.

This package imports the packages of the core; it knows nothing of how verdicts are made and reported.
"""
