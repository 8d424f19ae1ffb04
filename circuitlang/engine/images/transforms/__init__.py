"""One file each: a registered function, whose name is a word of the language."""
