"""Values of a plan together with the places where they were written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import NamedTuple

from circuitlang.base.source import Span
from circuitlang.plan.model import Circuit, Images, Key, Target


class PlacedImages(NamedTuple):
    """An image set with the name that the spec gives to it, or that its patterns give."""

    name: str
    images: Images
    span: Span


class PlacedTarget(NamedTuple):
    """A target, and the places of its layer and of what is meant in the layer; of a concept, its image sets."""

    target: Target
    layer: Span
    unit: Span
    sets: tuple[PlacedImages, ...] = ()


class PlacedCircuit(NamedTuple):
    """A circuit that has no id yet, and the places of its values by their keys in the plan, `()` for the circuit's."""

    circuit: Circuit
    spans: Mapping[Key, Span]


def line(span: Span) -> str:
    """Return `file:line`, without the folder: a plan says the same on every machine."""
    return f"{PurePath(span.source.name).name}:{span.source.position(span.start)[0]}"
