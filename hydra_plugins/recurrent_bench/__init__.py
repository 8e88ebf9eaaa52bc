"""What Hydra finds by itself, in the namespace where it looks for plugins."""
