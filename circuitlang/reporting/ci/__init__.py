"""Files for CI services and scripts."""
