"""Models behind HTTP: pictures in, translations out, for many clients at once."""
