"""Layers of models, as far as a spec can name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from circuitlang.base.diagnostics import Finding
from circuitlang.plan.preprocessing import WORDS

# Arguments of a model that change what it computes, or on what, but not which layers it has.
_NOT_STRUCTURE = ("weights", "state", "output", *WORDS)


# The side of the activation that a value is on; `mixed` where its channels differ, empty where that is not known.
Stage = Literal["before", "after", "mixed", ""]


class NamedModule(msgspec.Struct, frozen=True):
    """A module of a network, as a target may name it.

    `shape` is that of its output for one image, channels first; `layer` the short name of a layer, with its number of
    `kernels` and their `size`. `refused` says why the module can't be a target.
    """

    path: str
    kind: str
    shape: tuple[int, ...] = ()
    stage: Stage = ""
    layer: str = ""
    kernels: int = 0
    size: tuple[int, ...] = ()
    refused: str = ""


class Layers(msgspec.Struct, frozen=True):
    """The names that a target may use in a model: output channels by every name, and the names short enough to list.

    `modules` has all modules in the order of their definition; it is empty where they are not known, and has no shapes
    where only those for images of another size are.
    """

    widths: Mapping[str, int]
    short: tuple[str, ...]
    modules: tuple[NamedModule, ...] = ()

    def refusal(self, name: str) -> str:
        """Return why the module of a name can't be a target; empty where it can, or there is none."""
        return next((module.refused for module in self.modules if module.path == name), "")


def refused_target(name: str, reason: str) -> Finding:
    """Return the finding for a target whose module has no channels of its own."""
    cure = "name a module inside it or behind it; `circuitlang layers MODEL` lists them"
    return Finding("E308", f"'{name}' has no channels to preserve: {reason}", None, "", cure)


def model_key(source: str, name: str, arguments: Mapping[str, object]) -> str:
    """Return the key that models with the same layers share: `torchvision.resnet18(num_classes=10)`."""
    structure = {word: value for word, value in sorted(arguments.items()) if word not in _NOT_STRUCTURE}
    lists = {word: list(value) if isinstance(value, tuple) else value for word, value in structure.items()}
    inner = ", ".join(f"{word}={'none' if value is None else value}" for word, value in lists.items())
    return f"{source}.{name}({inner})" if inner else f"{source}.{name}"


def has_own_shapes(arguments: Mapping[str, object]) -> bool:
    """Return whether arguments of a model may change the size of its images, and so the shapes of its outputs."""
    return any(word in arguments for word in _NOT_STRUCTURE)
