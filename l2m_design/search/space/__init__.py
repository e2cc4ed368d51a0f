"""Spaces: what may be drawn, how many architectures that is, and how many of them meet the condition."""
