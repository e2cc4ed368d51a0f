"""Calibration: how many nats a state element of each kind of layer holds where the truth is known."""
