"""Executors: one file each, with a registered function that computes the groups of a run."""
