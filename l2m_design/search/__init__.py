"""Search: candidates drawn from a space, held to the condition, trained one by one, tracked, chosen among.

`l2m.search(study, overrides=(), *, resume=False, fresh=False, listener=None, runs="runs", reports="reports",
tracking=None, storage=None)` answers a StudySummary: see l2m_design.library.search.search.
"""
