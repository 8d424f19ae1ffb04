"""Output formats of splits: one file each, a registered function that turns a split into files."""
