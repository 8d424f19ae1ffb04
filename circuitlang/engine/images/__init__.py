"""Image sets: files found, decoded and batched."""
