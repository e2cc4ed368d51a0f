"""Library: what the verbs of the command line do, as functions of `l2m_design`; they reach over several rooms."""
