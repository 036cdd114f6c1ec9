"""Loading and saving: folder layouts and key maps of public checkpoints, as data."""
