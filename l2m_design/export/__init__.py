"""Export: a chosen drawing as files that others can read, each loaded back before it is called done."""

from l2m_design.export.card import write_card

__all__ = ["write_card"]
