"""Amounts of work for images of a circuit, which the forecast of a run asks for without torch."""

from __future__ import annotations

# Images of the strongest, of middling and of the weakest response, of which activation maps are shown.
STRONGEST, MIDDLE, WEAKEST = 4, 2, 2
SHOWN = STRONGEST + MIDDLE + WEAKEST
# Steps of gradient ascent to an image that excites the feature.
STEPS = 32
# The steps of channels, in times of these: small images need contrast.
LONGER = 3
