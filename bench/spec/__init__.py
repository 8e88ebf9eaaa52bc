"""What to run: the schema of configurations, composing and checking them, and what a run is called. Knows Hydra."""
