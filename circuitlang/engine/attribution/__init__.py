"""Scores of kernels: criteria, and the passes that they need."""
