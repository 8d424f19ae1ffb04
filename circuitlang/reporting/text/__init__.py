"""Sentences that the terminal and the pages share."""
