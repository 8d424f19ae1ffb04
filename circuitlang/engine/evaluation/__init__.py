"""Fidelity of circuits: metrics, reference responses, examples."""
