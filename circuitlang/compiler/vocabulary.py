"""The words that a spec may use, which come from outside the compiler."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from circuitlang.plan.layers import Layers
from circuitlang.plan.model import Images, Model
from circuitlang.plugins.registry import Declaration


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
    # The model of a spec without a model statement.
    model: Model = Model("bundled", "doodle")
    # Image sets that a spec need not define, by name.
    images: Mapping[str, Images] = {}
