"""Exported programs: `.pt2` files read as data, and their ATen operators imported as a graph of modules."""
