"""Adoption: a study that starts from a model that exists, and searches the least cache that keeps what it can do."""
