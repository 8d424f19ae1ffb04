"""Layers of models, as far as a spec can name them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from circuitlang.plan.preprocessing import WORDS

# Arguments of a model that change what it computes, or on what, but not which layers it has.
_NOT_STRUCTURE = ("weights", "state", "output", *WORDS)


class Layers(msgspec.Struct, frozen=True):
    """The names that a target may use in a model: output channels by every name, and the names short enough to list."""

    widths: Mapping[str, int]
    short: tuple[str, ...]


def model_key(source: str, name: str, arguments: Mapping[str, object]) -> str:
    """Return the key that models with the same layers share: `torchvision.resnet18(num_classes=10)`."""
    structure = {word: value for word, value in sorted(arguments.items()) if word not in _NOT_STRUCTURE}
    lists = {word: list(value) if isinstance(value, tuple) else value for word, value in structure.items()}
    inner = ", ".join(f"{word}={'none' if value is None else value}" for word, value in lists.items())
    return f"{source}.{name}({inner})" if inner else f"{source}.{name}"
