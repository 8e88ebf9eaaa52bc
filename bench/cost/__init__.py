"""What cells cost: times, FLOPs, and sizes at which they cost the same."""
