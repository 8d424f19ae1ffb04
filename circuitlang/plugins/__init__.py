"""Extensions by name, and the protocols of criteria, ablations, metrics and model sources."""
