"""Guest: the interface for commands and files inside a sandbox, and the results that its operations return.

This package imports `samebox.errors` alone; it knows neither engines nor the agent's protocol.
"""
