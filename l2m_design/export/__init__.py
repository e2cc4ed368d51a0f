"""Export: a chosen drawing as files that others can read, each loaded back before it is called done."""
