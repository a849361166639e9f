"""samebox-unshare: the example of an engine."""
