"""Who runs what, where: plans, workers, leases, progress, launchers."""
