"""Training: one recipe, the same data in the same order for every candidate, losses by position."""

from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result
from l2m_design.training.run import Rung, train

__all__ = ["Recipe", "Result", "Rung", "train"]
