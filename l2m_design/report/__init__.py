"""Report: one self-contained HTML page from a study's summary."""
