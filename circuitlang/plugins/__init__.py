"""Extensions by name, and the protocols of criteria, ablations, metrics, transforms and model sources."""
