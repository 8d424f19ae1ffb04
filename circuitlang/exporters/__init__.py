"""What a finished circuit can be exported as: one file each, a registered function, whose name is the file's ending."""
