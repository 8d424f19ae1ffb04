"""Kernels to connections between channels: wires are followed, parallel kernels are bundled.

A linear layer may have millions of kernels, so that all are arrays here until the most influential are chosen.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from circuitlang.base.deferred import np
from circuitlang.results.influence import EdgeTable, influence, shares, whole_paths
from circuitlang.results.types import ChannelSources, Circuit, KeptKernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]

# A channel of a layer, by position. The image is one channel of its own, whatever its colours.
Channel = tuple[int, int]
IMAGE: Channel = (-1, 0)


# The most connections that drawings show; beyond, they say less, not more. Pages open with about `_FIRST` of them.
DRAWN = 2000
_FIRST = 160


@dataclass(frozen=True)
class Connection:
    """All effective kernels from one channel to another: which of the target's layer, their sums, their best rank.

    `summands` are the channels whose sum the kernels read, the source among them; where they read it alone, only it.
    `share` is the connection's part of all that its target reads, `influence` the part of the feature that flows along
    it; `by_image` has both for single images, where these are known. All connections of the first steps together are
    whole paths.
    """

    source: Channel
    target: Channel
    members: tuple[int, ...]
    rank: int
    score: float
    weight: float
    size: tuple[int, int]
    summands: tuple[Channel, ...]
    share: float
    influence: float
    step: int
    by_image: tuple[tuple[float, float], ...]

    @property
    def kernels(self) -> int:
        """The number of kernels."""
        return len(self.members)

    @property
    def shortcut(self) -> bool:
        """True if the output of another channel is added on the way."""
        return self.source < max(self.summands)

    @property
    def sign(self) -> int:
        """1 where the kernels excite, -1 where they inhibit, by the sum of their weights."""
        return (self.weight > 0) - (self.weight < 0)


@dataclass(frozen=True)
class Connections:
    """The connections that are drawn, in the order of their steps, the most influential of a step first.

    Of `effective` kernels `left_out` are in none of them. They carry the part `carried` of the feature's influence.
    """

    strongest: list[Connection]
    effective: int
    left_out: int
    carried: float

    @property
    def until(self) -> list[int]:
        """The number of connections of the first steps, by number of steps less one."""
        steps = [one.step for one in self.strongest]
        return [
            number for number in range(1, len(steps) + 1) if number == len(steps) or steps[number] > steps[number - 1]
        ]


class _Carried(NamedTuple):
    """The flow along a connection, and the step at which it is drawn."""

    share: float
    influence: float
    step: int
    by_image: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Bundles:
    """The connections into one layer as columns.

    Effective kernel `kernel[n]` is part of connection `member[n]`; rows `first[kernel]` and following, `count[kernel]`
    of them, of `feeders` are what it reads. `flow` [connections, images] is what connections carry in images.
    """

    layer: int
    origin: Integers
    channel: Integers
    target: Integers
    rank: Integers
    score: Floats
    weight: Floats
    flow: Floats
    kernel: Integers
    member: Integers
    positions: Integers
    feeders: Integers
    first: Integers
    count: Integers


def connections(circuit: Circuit, limit: int, contributions: Sequence[NDArray[np.float32]] = ()) -> Connections:
    """Return the effective circuit as at most `limit` connections between channels, which form whole paths.

    A kernel whose input channel is a sum is in a connection from each summand that lives, with all that it carries.

    Args:
        circuit: The circuit.
        limit: The most connections.
        contributions: The contributions of the kept kernels of each layer in some images, [kernels, images]. Influence
            is computed from their sums; from scores where there are none.
    """
    asked = _Asked(weakref.ref(circuit), tuple(contributions))
    before = _LAST.get(limit)
    if before is None or not asked.same(before[0]):
        before = _LAST[limit] = asked, _connections(circuit, limit, contributions)
    return before[1]


@dataclass(frozen=True)
class _Asked:
    """Arguments of `connections` other than the limit, compared by identity: arrays have no hash."""

    circuit: weakref.ref[Circuit]
    contributions: tuple[NDArray[np.float32], ...]

    def same(self, other: _Asked) -> bool:
        """Return whether the other has the same arguments, which are all still there."""
        arrays = zip(self.contributions, other.contributions, strict=False)
        return (
            self.circuit() is not None
            and self.circuit() is other.circuit()
            and len(self.contributions) == len(other.contributions)
            and all(mine is theirs for mine, theirs in arrays)
        )


# The last of each limit: images, the fidelity of paths and the pages of a circuit ask for the same one after the other.
_LAST: dict[int, tuple[_Asked, Connections]] = {}


def _connections(circuit: Circuit, limit: int, contributions: Sequence[NDArray[np.float32]]) -> Connections:
    ranks = _ranks(circuit.kernels)
    alive = [np.flatnonzero(np.bincount(kernels.target[kernels.effective])) for kernels in circuit.kernels]
    flows = contributions or [np.zeros((len(kernels.target), 0), np.float32) for kernels in circuit.kernels]
    layers = [
        _bundles(layer, kernels, _feeders(wire, alive), rank, flow)
        for layer, (kernels, wire, rank, flow) in enumerate(
            zip(circuit.kernels, circuit.wires, ranks, flows, strict=True)
        )
    ]
    # Every connection of the circuit by (layer, number in the layer).
    layer = np.concatenate([np.full(len(bundle.target), bundle.layer) for bundle in layers])
    number = np.concatenate([np.arange(len(bundle.target)) for bundle in layers])
    flow = np.concatenate([bundle.flow for bundle in layers])
    table = _table(layers, circuit.target, flow)
    influences, _ = influence(table)
    chosen = whole_paths(table, limit)
    drawn = np.zeros(len(layer), bool)
    drawn[chosen.order] = True
    left_out = 0
    for bundle in layers:
        shown = np.zeros(len(ranks[bundle.layer]), bool)
        shown[bundle.kernel[drawn[layer == bundle.layer][bundle.member]]] = True
        left_out += int((~shown).sum())
    single = _by_image(table, flow, np.array(chosen.order, np.int64))
    strongest = [
        _connection(
            layers[layer[one]],
            int(number[one]),
            circuit.kernels,
            _Carried(float(table.share[one]), min(float(influences[one]), 1.0), step, single[place]),
        )
        for place, (one, step) in enumerate(zip(chosen.order, chosen.step, strict=True))
    ]
    effective = sum(int(kernels.effective.sum()) for kernels in circuit.kernels)
    _, carried = influence(table.part(np.flatnonzero(drawn)))
    return Connections(strongest, effective, left_out, carried)


def opening(shown: Connections) -> int:
    """Return the number of steps that a page opens with: all of a small circuit, else as many as are a picture."""
    until = shown.until
    few = sum(end <= _FIRST for end in until)
    return len(until) if len(shown.strongest) <= 1.3 * _FIRST else max(few, 1)


def _by_image(table: EdgeTable, flow: Floats, chosen: Integers) -> list[tuple[tuple[float, float], ...]]:
    """Return the share and the influence of chosen edges in each image."""
    columns = []
    for strength in flow.T:
        single = replace(table, share=shares(table.target, strength, table.channels, table.share))
        columns.append((single.share[chosen], np.minimum(influence(single)[0][chosen], 1.0)))
    return [
        tuple((float(share[place]), float(influences[place])) for share, influences in columns)
        for place in range(len(chosen))
    ]


def _table(layers: list[_Bundles], target: ChannelSources, flow: Floats) -> EdgeTable:
    """Number the channels of all layers, the image first."""
    ends = target.origin >= 0
    widths = [
        1 + max(int(ids.max(initial=-1)) for ids in _numbers(layers, target, place)) for place in range(len(layers))
    ]
    offset = np.concatenate([[0, 1], 1 + np.cumsum(widths)]).astype(np.int64)
    channels = int(offset[-1])
    targets = np.concatenate([offset[bundle.layer + 1] + bundle.target for bundle in layers])
    scores = shares(targets, _strength(np.concatenate([bundle.score for bundle in layers])), channels)
    return EdgeTable(
        source=np.concatenate([offset[bundle.origin + 1] + bundle.channel for bundle in layers]),
        target=targets,
        # A channel that carries nothing in any image has the shares of the scores.
        share=shares(targets, flow.sum(1), channels, scores),
        channels=channels,
        ends=np.unique(offset[target.origin[ends] + 1] + target.channel[ends]),
    )


def _strength(values: Floats) -> Floats:
    return np.maximum(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), 0.0)


def _numbers(layers: list[_Bundles], target: ChannelSources, place: int) -> list[Integers]:
    """Return the numbers of a layer's channels that connections write or read, or that carry the target."""
    read = [bundle.channel[bundle.origin == place] for bundle in layers]
    return [layers[place].target, *read, target.channel[target.origin == place]]


def _ranks(layers: tuple[KeptKernels, ...]) -> list[Integers]:
    """Return the rank of every effective kernel in the circuit, layer by layer; 1 is strongest."""
    layer = np.concatenate([np.full(int(kernels.effective.sum()), place) for place, kernels in enumerate(layers)])
    source, target = (
        np.concatenate([getattr(kernels, name)[kernels.effective] for kernels in layers])
        for name in ("source", "target")
    )
    score = np.nan_to_num(np.concatenate([kernels.score[kernels.effective] for kernels in layers]))
    rank = np.empty(len(score), np.int64)
    rank[np.lexsort((source, target, layer, -score))] = np.arange(1, len(score) + 1)
    return [rank[layer == place] for place in range(len(layers))]


def _feeders(wire: ChannelSources, alive: list[Integers]) -> Integers:
    """Rows (source, origin, channel) of what feeds each input channel, without what the circuit silenced."""
    image = wire.origin < 0
    rows = np.stack([wire.source, np.where(image, -1, wire.origin), np.where(image, 0, wire.channel)], axis=1)
    rows = np.unique(rows.astype(np.int64), axis=0)
    lives = rows[:, 1] < 0
    for origin in np.unique(rows[~lives, 1]):
        here = rows[:, 1] == origin
        lives[here] = np.isin(rows[here, 2], alive[origin])
    # An effective kernel has a living feeder; were there none, it is better drawn than lost.
    feeders: Integers = rows[lives | ~np.isin(rows[:, 0], rows[lives, 0])]
    return feeders


def _bundles(
    layer: int, kernels: KeptKernels, feeders: Integers, rank: Integers, flow: NDArray[np.float32]
) -> _Bundles:
    """Join each effective kernel with its feeders; kernels between the same two channels are one bundle."""
    numbers = np.flatnonzero(kernels.effective)
    source, target = kernels.source[numbers], kernels.target[numbers]
    first = np.searchsorted(feeders[:, 0], source, side="left")
    count = np.searchsorted(feeders[:, 0], source, side="right") - first
    kernel = np.repeat(np.arange(len(numbers)), count)
    within = np.arange(len(kernel)) - np.repeat(np.cumsum(count) - count, count)
    ends, feeder = np.unique(feeders[:, 1:], axis=0, return_inverse=True)
    wide = int(target.max(initial=0)) + 1
    key = feeder.reshape(-1)[first[kernel] + within] * wide + target[kernel]
    pairs, member = np.unique(key, return_inverse=True)
    weight = kernels.weight[numbers].sum(axis=(1, 2), dtype=np.float64)
    best = np.full(len(pairs), np.iinfo(np.int64).max)
    np.minimum.at(best, member, rank[kernel])
    order = np.argsort(member, kind="stable")
    return _Bundles(
        layer,
        origin=ends[pairs // wide, 0],
        channel=ends[pairs // wide, 1],
        target=pairs % wide,
        rank=best,
        score=np.bincount(member, kernels.score[numbers][kernel], len(pairs)).astype(np.float64),
        weight=np.bincount(member, weight[kernel], len(pairs)).astype(np.float64),
        flow=_sums(member, flow[numbers], kernel, len(pairs)),
        kernel=kernel[order],
        member=member[order],
        positions=numbers,
        feeders=feeders,
        first=first,
        count=count,
    )


def _sums(member: Integers, flow: NDArray[np.float32], kernel: Integers, count: int) -> Floats:
    """Return the sums over the kernels of each of `count` bundles, [bundles, images]."""
    sums = np.zeros((count, flow.shape[1]))
    for image, values in enumerate(flow.T):
        sums[:, image] = np.bincount(member, _strength(values.astype(np.float64))[kernel], count)
    return sums


def _connection(bundle: _Bundles, number: int, layers: tuple[KeptKernels, ...], carried: _Carried) -> Connection:
    height, width = layers[bundle.layer].weight.shape[1:]
    begin, end = np.searchsorted(bundle.member, [number, number + 1])
    kernels = bundle.kernel[begin:end]
    one = kernels[0]
    summands = bundle.feeders[bundle.first[one] : bundle.first[one] + bundle.count[one], 1:]
    return Connection(
        source=(int(bundle.origin[number]), int(bundle.channel[number])),
        target=(bundle.layer, int(bundle.target[number])),
        members=tuple(bundle.positions[kernels].tolist()),
        rank=int(bundle.rank[number]),
        score=float(bundle.score[number]),
        weight=float(bundle.weight[number]),
        size=(int(height), int(width)),
        summands=tuple((int(layer), int(channel)) for layer, channel in summands),
        share=carried.share,
        influence=carried.influence,
        step=carried.step,
        by_image=carried.by_image,
    )
