"""Export: a chosen architecture as files that others can read, each loaded back before it is called done.

`l2m.export(source, to="card", out="exported", *, weights=None, tokenizer=None, parameters=None, seed=0, force=False)`
answers what was written: see l2m_design.library.export.export.
"""
