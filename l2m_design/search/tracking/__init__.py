"""All use of MLflow: one experiment and parent run per study, one nested run per trial; each is sent once."""
