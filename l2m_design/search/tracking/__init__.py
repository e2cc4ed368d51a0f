"""MLflow's one door: an experiment and a parent run a study, a nested run a trial; each is sent once."""
