"""Displays of a run's progress, one for each place where somebody watches it. All of them are listeners of the run."""
