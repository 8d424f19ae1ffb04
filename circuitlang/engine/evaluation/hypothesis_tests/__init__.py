"""Built-in hypothesis tests of circuits, one per file."""
