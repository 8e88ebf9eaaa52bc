"""From a run's specification to its outcome: model, random streams, training loop, checkpoints."""
