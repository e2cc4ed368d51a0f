"""Workers: who works off the tickets of a study, on this machine, on others, on a cluster."""
