"""Optuna's one door: a database that may be away, tickets that are worked off once each, and who draws what next."""
