"""Amounts of work of a run, which its forecast asks for without torch."""

from __future__ import annotations

# Targets that are taken together: more would take much memory for their scores and save little.
TOGETHER = 16
# Images that are scored twice more to check reduced precision, at most, spread over the set.
COMPARED = 16
# Blocks of images whose sums of scores are kept at once, at most; halves and resamples of the images are made of them.
BLOCKS = 32
