"""Scores as pure functions of images or features."""
