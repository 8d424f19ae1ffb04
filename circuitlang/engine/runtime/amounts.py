"""Amounts of work of a run, which its forecast asks for without torch."""

from __future__ import annotations

# Targets that are taken together: more would take much memory for their scores and save little.
TOGETHER = 16
# Images that are scored twice more to check reduced precision, at most, spread over the set.
COMPARED = 16
# Halvings whose sums of scores are kept at once; more take another pass over the images.
AT_ONCE = 10
