"""Scores: the loss of every token under a causal model, scored once and kept, for many estimates."""

from l2m_design.information.scores.base import Scorer, Scores
from l2m_design.information.scores.oracle import OracleScorer
from l2m_design.information.scores.segments import Segments

__all__ = ["OracleScorer", "Scorer", "Scores", "Segments"]
