"""Frames → figures."""
