"""Preprocessing of images, from the model's source and the arguments of the model statement that override it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.plan.preprocessing import LISTS, MOST_NUMBERS, WORDS, unsuitable
from circuitlang.plugins.preprocess import Preprocess


def apart(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The words of a model statement that say how images are prepared, and all others. Raises InputError for values
    that such a word does not take."""
    words = {word: value for word, value in arguments.items() if word in WORDS}
    for word, value in words.items():
        if expected := unsuitable(word, value):
            raise InputError(Finding("E203", f"{word} can't be {value!r:.60}", None, expected))
    return words, {word: value for word, value in arguments.items() if word not in WORDS}


def overridden(usual: Preprocess, said: Mapping[str, Any], find: Callable[[int, int], int]) -> Preprocess:
    """A source's preprocessing with what the statement says.

    `find(crop, count)` tells how many channels the network takes: so many, if it runs with them. Where that is another
    number than the source's, images are normalised by mean 0 and standard deviation 1 unless the statement says
    otherwise. Raises InputError where what is said doesn't fit together, or not the network.
    """
    sizes = {word: said[word] for word in ("resize", "crop") if word in said}
    preprocess = replace(usual, **sizes)
    if preprocess.crop > preprocess.resize:
        message = f"crop ({preprocess.crop}) is larger than resize ({preprocess.resize})"
        raise InputError(Finding("E203", message, None, "", f"add resize={preprocess.crop}"))
    channels = _channels(said, preprocess, find)
    if channels != usual.channels:
        preprocess = replace(preprocess, mean=(0.0,) * channels, std=(1.0,) * channels)
    mean, std = (tuple(map(float, said.get(word, getattr(preprocess, word)))) for word in ("mean", "std"))
    return replace(preprocess, mean=mean, std=std)


def _channels(said: Mapping[str, Any], usual: Preprocess, find: Callable[[int, int], int]) -> int:
    """The number of channels of the network, which what is said must fit. Raises InputError."""
    counts = {word: len(said[word]) for word in LISTS if word in said}
    counts |= {"image_channels": said["image_channels"]} if "image_channels" in said else {}
    if len(set(counts.values())) > 1:
        label = " and ".join(f"{word} is for {count}" for word, count in counts.items())
        raise InputError(Finding("E203", "the numbers of channels differ", None, label))
    word, count = next(iter(counts.items()), ("", usual.channels))
    _check_numbers(count, usual.crop)
    channels = find(usual.crop, count)
    if word and channels != count:
        label = f"it takes {channels}"
        raise InputError(
            Finding("E203", f"{word} is for {count} channels, which the network does not take", None, label)
        )
    _check_numbers(channels, usual.crop)
    return channels


def _check_numbers(channels: int, crop: int) -> None:
    if channels * crop**2 > MOST_NUMBERS:
        message = f"images of {channels} channels and {crop} x {crop} pixels are too large"
        raise InputError(Finding("E203", message, None, f"at most {MOST_NUMBERS:,} numbers", "write a smaller crop="))
