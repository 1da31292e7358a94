"""Unpaired image style translation: photographs to paintings and back."""
