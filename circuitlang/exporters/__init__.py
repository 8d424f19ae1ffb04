"""Exports of finished circuits: one file each, with a registered function whose name is the file's ending."""
