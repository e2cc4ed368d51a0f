"""Training: one recipe, the same data in the same order for every candidate, losses by position."""
