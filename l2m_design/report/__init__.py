"""Report: one self-contained HTML page from a study's summary."""

from l2m_design.report.page import write_page

__all__ = ["write_page"]
