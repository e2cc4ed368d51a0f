"""The only use of Optuna: a database that may be unreachable, trials that are stored once each, and the samplers."""
