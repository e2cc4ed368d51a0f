"""Search: candidates drawn from a space, held to the condition, trained one by one, tracked, chosen among."""

from l2m_design.search.settings import StudySettings
from l2m_design.search.space import Space

__all__ = ["Space", "StudySettings"]
