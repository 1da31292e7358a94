"""Networks trained by others that see pictures, and where their weights come from."""
