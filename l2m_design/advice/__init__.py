"""What would change the condition's answer: layers that may keep less, or must keep more, and how much."""

from l2m_design.advice.advise import advise, then
from l2m_design.advice.change import Change
from l2m_design.advice.series import Dimension, depth, factor, is_fixed, member, window
from l2m_design.advice.stack import Stack

__all__ = ["Change", "Dimension", "Stack", "advise", "depth", "factor", "is_fixed", "member", "then", "window"]
