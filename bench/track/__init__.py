"""Trackers: Weights & Biases, TensorBoard, MLflow, each in the one file that touches it."""
