"""Output formats of comparisons: one file each, a registered function that turns a comparison into files."""
