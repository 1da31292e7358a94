"""The product timed against the obvious way."""
