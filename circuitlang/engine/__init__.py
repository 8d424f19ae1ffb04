"""Plan → result. Nothing is imported here, so that reading a finished result needs no torch."""
