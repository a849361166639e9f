"""Guest: what can be done inside a sandbox, as an interface, and what that returns.

It imports `samebox.errors` alone; it knows neither engines nor how the agent is spoken to.
"""
