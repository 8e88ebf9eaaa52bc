"""What to run: Hydra's configuration groups, as package data."""
