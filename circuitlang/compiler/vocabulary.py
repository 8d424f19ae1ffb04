"""The words that a spec may use, which come from outside the compiler."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from circuitlang.plan.layers import Layers
from circuitlang.plan.model import Images, Model
from circuitlang.plugins.registry import Declaration


def names_unknown(_source: str) -> Collection[str]:
    """Return no names: of no source is it known which models there are."""
    return ()


class Vocabulary(msgspec.Struct, frozen=True):
    """Extensions by name, and the layers of the models that are known.

    `layers` is keyed by `model_key`; a model that isn't in it is not an error, it was just never looked at.
    """

    criteria: Mapping[str, Declaration]
    ablations: Mapping[str, Declaration]
    metrics: Mapping[str, Declaration]
    models: Mapping[str, Declaration]
    transforms: Mapping[str, Declaration] = {}
    tests: Mapping[str, Declaration] = {}
    layers: Mapping[str, Layers] = {}
    # The names of all models of a source; none where they are not known.
    names: Callable[[str], Collection[str]] = names_unknown
    # The model of a spec without a model statement.
    model: Model = Model("bundled", "doodle")
    # Image sets that a spec need not define, by name.
    images: Mapping[str, Images] = {}
