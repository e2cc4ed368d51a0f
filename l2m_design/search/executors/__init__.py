"""Executors: where the jobs of a study run; the driver hands them out, hears what happens and decides."""
