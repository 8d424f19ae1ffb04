"""Output formats of edits: one file each, a registered function that turns an edit into files."""
