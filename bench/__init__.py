"""Runs the comparison: configuration → run → stored result. Knows Hydra, W&B, files and clocks."""
