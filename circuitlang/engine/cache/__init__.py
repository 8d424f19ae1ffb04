"""Tensors that were computed before, stored in the user's cache folder by content."""
