"""Spaces: what may be drawn, how many drawings that is, and how many of them meet the condition."""
