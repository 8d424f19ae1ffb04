"""Comparisons of circuits, and the statistics of splits."""
