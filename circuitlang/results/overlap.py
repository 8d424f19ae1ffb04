"""Two circuits → how many kernels they share, layer by layer, and how many two random ones of these sizes would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.deferred import np
from circuitlang.results.types import Circuit, LayerSummary, Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Masks = Mapping[str, NDArray[np.bool_]]

# Masks by the path of a layer: of its kernels [out, in / groups], or weights [out, in / groups, h, w].
# Numbers of shared kernels less probable than this, against the most probable, have no say in an expectation.
_NEGLIGIBLE = 1e-25


@dataclass(frozen=True)
class Kept:
    """The kept kernels of a circuit, and its relevant ones as far as they are known."""

    masks: Masks
    relevant: Masks = field(default_factory=dict)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of kernels that each of two circuits keeps, and that both keep, in one layer or in all.

    `iou` is intersection over union, None where neither keeps anything. By chance, `expected` kernels would be shared
    and the mean of `iou` be `expected_iou`; `p` is the probability that as many are shared, or more: each circuit has,
    layer by layer, as many kernels as it does, drawn uniformly from those relevant to it and independently of the
    other's; a `p` of 0 stands for less than 1e-20. These are None where the relevant kernels aren't known.
    """

    first: int
    second: int
    shared: int
    iou: float | None
    expected: float | None
    expected_iou: float | None
    p: float | None

    @property
    def only_first(self) -> int:
        return self.first - self.shared

    @property
    def only_second(self) -> int:
        return self.second - self.shared

    @property
    def union(self) -> int:
        return self.first + self.second - self.shared


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """The overlap of two circuits: in all, and by the path of each layer that either has."""

    total: Part
    layers: dict[str, Part]


@dataclass(frozen=True)
class _Chance:
    """The probabilities that `first`, `first` + 1, ... kernels are shared."""

    first: int
    probabilities: NDArray[np.float64]

    @property
    def numbers(self) -> NDArray[np.int64]:
        return self.first + np.arange(len(self.probabilities))


def overlap(first: Kept, second: Kept) -> Overlap:
    """Count the kernels that two circuits of one network share, in the order of their layers."""
    parts: dict[str, Part] = {}
    chances: list[_Chance | None] = []
    for path in merged(first.masks, second.masks):
        a, b = first.masks.get(path), second.masks.get(path)
        sizes = _size(a), _size(b)
        shared = 0 if a is None or b is None else int((a & b).sum())
        chance = _chance(*sizes, first.relevant.get(path), second.relevant.get(path))
        parts[path] = _part(*sizes, shared, chance)
        chances.append(chance)
    first_kept, second_kept, both = (
        sum(getattr(part, name) for part in parts.values()) for name in ("first", "second", "shared")
    )
    return Overlap(total=_part(first_kept, second_kept, both, _all(chances)), layers=parts)


def kept(result: Result, kernels: bool = False) -> Kept:
    """The kernels of a finished circuit, or where single weights are what was removed these, unless `kernels` are asked
    for. Which are relevant is told from how its layers are wired; a layer where that isn't all there is to it has
    none."""
    summary, circuit = result.summary, result.circuit
    weights = summary.plan.structure == "weight" and not kernels
    masks, relevant = {}, dict(_relevant(summary.layers, circuit))
    for layer, kept_kernels, change in zip(summary.layers, circuit.kernels, circuit.changes, strict=True):
        inner = layer.in_channels // layer.groups
        size = kept_kernels.weight.shape[1:] if weights else ()
        masks[layer.path] = np.zeros((layer.out_channels, inner, *size), np.bool_)
        masks[layer.path][kept_kernels.target, kept_kernels.source % inner] = change.gain != 0 if weights else True
        if weights and layer.path in relevant:
            every = relevant[layer.path][..., None, None]
            relevant[layer.path] = np.broadcast_to(every, masks[layer.path].shape)
        of = int(np.prod(kept_kernels.weight.shape[1:])) if summary.plan.structure == "weight" and not weights else 1
        if layer.path in relevant and int(relevant[layer.path].sum()) * of != layer.relevant:
            del relevant[layer.path]
    return Kept(masks, relevant)


def merged(first: Iterable[str], second: Iterable[str]) -> list[str]:
    """The layers of both in an order that is that of each: of two that only one has, the first one's come first."""
    ours, theirs = list(first), list(second)
    order: list[str] = []
    for path in ours:
        if path in theirs:
            place = theirs.index(path)
            order += [name for name in theirs[:place] if name not in ours]
            theirs = theirs[place + 1 :]
        order.append(path)
    return [*order, *(name for name in theirs if name not in ours)]


def _relevant(layers: list[LayerSummary], circuit: Circuit) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    """Return the kernels of each layer on a path from the image to the target: in rows that the target depends on, of
    input channels that an image gets to."""
    reached: list[NDArray[np.bool_]] = []
    for layer, wire, change in zip(layers, circuit.wires, circuit.changes, strict=True):
        fed = np.zeros(layer.in_channels, np.bool_)
        fed[wire.source[wire.origin < 0]] = True
        for origin in np.unique(wire.origin[wire.origin >= 0]):
            here = wire.origin == origin
            if origin < len(reached):
                fed[wire.source[here][reached[origin][wire.channel[here]]]] = True
        wanted = np.zeros(layer.out_channels, np.bool_)
        wanted[change.rows] = True
        rows = layer.out_channels // layer.groups
        mask: NDArray[np.bool_] = wanted[:, None] & np.repeat(fed.reshape(layer.groups, -1), rows, axis=0)
        reached.append(np.asarray(mask.any(1)))
        yield layer.path, mask


def _size(mask: NDArray[np.bool_] | None) -> int:
    return 0 if mask is None else int(mask.sum())


def _part(first: int, second: int, shared: int, chance: _Chance | None) -> Part:
    union = first + second - shared
    expected = expected_iou = p = None
    if chance is not None and union:
        expected = float(chance.numbers @ chance.probabilities)
        expected_iou = float((chance.numbers / (first + second - chance.numbers)) @ chance.probabilities)
        p = min(float(chance.probabilities[chance.numbers >= shared].sum()), 1.0)
    iou = shared / union if union else None
    return Part(first=first, second=second, shared=shared, iou=iou, expected=expected, expected_iou=expected_iou, p=p)


def _chance(first: int, second: int, of: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> _Chance | None:
    """Return the distribution of the number of kernels that two random circuits of these sizes share."""
    if not first or not second:
        return _Chance(0, np.ones(1))
    if of is None or other is None or of.shape != other.shape:
        return None
    common = _draws(int(of.sum()), int((of & other).sum()), first)
    distributions = [
        (_draws(int(other.sum()), int(number), second), share)
        for number, share in zip(common.numbers, common.probabilities, strict=True)
    ]
    start = min(distribution.first for distribution, _ in distributions)
    total = np.zeros(
        max(distribution.first + len(distribution.probabilities) for distribution, _ in distributions) - start
    )
    for distribution, share in distributions:
        total[distribution.first - start :][: len(distribution.probabilities)] += share * distribution.probabilities
    return _Chance(start, total)


def _draws(of: int, marked: int, drawn: int) -> _Chance:
    """The hypergeometric distribution: how many of `drawn` without replacement are among those marked."""
    low, high = max(0, drawn + marked - of), min(drawn, marked)
    k = np.arange(low, high, dtype=np.float64)
    steps = np.log(marked - k) + np.log(drawn - k) - np.log(k + 1) - np.log(of - marked - drawn + k + 1)
    logarithms = np.concatenate([[0.0], np.cumsum(steps)])
    weights = np.exp(logarithms - logarithms.max())
    there = np.flatnonzero(weights > _NEGLIGIBLE)
    weights = weights[there[0] : there[-1] + 1]
    return _Chance(low + int(there[0]), weights / weights.sum())


def _all(chances: list[_Chance | None]) -> _Chance | None:
    """The sum of independent numbers."""
    start, probabilities = 0, np.ones(1)
    for chance in chances:
        if chance is None:
            return None
        start += chance.first
        probabilities = np.convolve(probabilities, chance.probabilities)
    return _Chance(start, probabilities)
