"""One file each: a registered function that turns a result into files."""
