"""What a training run leaves on disk, and how it is watched."""
