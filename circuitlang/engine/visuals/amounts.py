"""Amounts of work for images of a circuit, which the forecast of a run asks for without torch."""

from __future__ import annotations

# Images of the strongest, of middling and of the weakest response, of which activation maps are shown.
STRONGEST, MIDDLE, WEAKEST = 4, 2, 2
SHOWN = STRONGEST + MIDDLE + WEAKEST
# Steps of gradient ascent to an image that excites a unit, and images of noise of which the best is its beginning.
STEPS, STARTS = 64, 16
# Side in pixels of the image that is made for a unit that sees more: on a smaller one there is more of what it prefers.
SIDE = 96
# Channels that a run visualises without being asked to, at most, and the floating-point operations that it may take for
# all of them: about five seconds of one CPU core.
MOST, OPERATIONS = 12, 500_000_000_000
# The operations that take as long as what a step does beside the network, for one image.
OVERHEAD = 20_000_000
