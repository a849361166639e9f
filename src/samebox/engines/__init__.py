"""The engines in the core: only the one without isolation, for tests and development."""
