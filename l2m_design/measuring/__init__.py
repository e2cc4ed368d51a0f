"""Measuring: a corpus and what may score it, from their names to measurements; models are trained or loaded here."""
