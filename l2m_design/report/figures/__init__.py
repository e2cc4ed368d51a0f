"""All use of Matplotlib: figures of studies and of measurements."""
