"""One sandbox API with the same observable behaviour on every engine."""
