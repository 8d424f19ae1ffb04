"""Diagrams: edges, their ordering and layout, thumbnails and captions."""
