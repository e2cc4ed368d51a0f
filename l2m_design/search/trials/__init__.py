"""Trials: one candidate drawn, judged and trained, in processes of its own."""
