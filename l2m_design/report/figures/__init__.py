"""Matplotlib's one door: figures of studies and of measurements."""
