"""Calibration: how many nats a state element of each mixer type holds where the truth is known."""
