"""Results: finalists, the choice, what the rungs were worth, and the summary of it all."""
