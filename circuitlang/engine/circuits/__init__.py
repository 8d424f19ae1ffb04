"""Circuits: kernels selected, edited, refitted, and extracted as modules."""
