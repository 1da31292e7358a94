"""Training: the loop, its step and what is shown on the way."""
