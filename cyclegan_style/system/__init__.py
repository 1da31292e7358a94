"""The machine: its hardware, processes and files."""
