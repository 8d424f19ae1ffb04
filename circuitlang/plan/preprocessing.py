"""Words of the model statement that say how images are prepared, and which values they take.

The compiler checks them in a spec, the engine in a plan that was written by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

# Larger images, or more channels, fill memory: a network's maps are many times as large as its images.
HIGHEST: Mapping[str, int] = {"resize": 4096, "crop": 2048, "image_channels": 1024}
# A number for each channel.
LISTS = ("mean", "std")
WORDS = (*HIGHEST, *LISTS)
# Numbers in one image, channels times rows times columns.
MOST_NUMBERS = 4 * 2048**2


def unsuitable(word: str, value: object) -> str:
    """Describe the values that a word takes, if this value is not one of them; else return an empty text."""
    if word in HIGHEST:
        fine = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= HIGHEST[word]
        return "" if fine else f"a whole number from 1 to {HIGHEST[word]}"
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= HIGHEST["image_channels"]:
        return "a number for each channel of the images"
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in value):
        return "a number for each channel of the images"
    # Single precision has no place for others.
    lowest = 1e-30 if word == "std" else -1e30
    return "" if all(lowest <= number <= 1e30 for number in value) else f"numbers from {lowest:g} to 1e+30"
