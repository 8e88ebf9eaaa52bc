"""What cells cost: times and FLOPs, measured side by side."""
