"""Drawn edges are whole paths, chosen by the influence that flows along them."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from circuitlang.results.connections import IMAGE, Channel, Connection, Connections, connections, opening
from circuitlang.results.influence import EdgeTable, influence, shares, whole_paths
from circuitlang.results.types import ChannelSources, Circuit, KeptKernels


def circuit(kernels: int, layers: int, rng: np.random.Generator, skip: int = 0) -> Circuit:
    """A connected circuit: a chain of layers with random kernels, of which each channel reads and is read.

    With `skip` the inputs of layers are sums with the layer that many before.
    """
    channels = max(2, int((kernels / layers) ** 0.5 * 1.5))
    parts, wires = [], []
    for layer in range(layers):
        sources, targets = 1 if layer == 0 else channels, 1 if layer == layers - 1 else channels
        # A permutation keeps all channels connected.
        pairs = {(place % targets, place % sources) for place in range(max(sources, targets))}
        wanted = min(targets * sources, max(len(pairs), kernels // layers))
        while len(pairs) < wanted:
            pairs.add((int(rng.integers(targets)), int(rng.integers(sources))))
        target, source = np.array(sorted(pairs), np.int64).T
        score = rng.lognormal(sigma=2.0, size=len(target))
        weight = rng.normal(size=(len(target), 1, 1)).astype(np.float32)
        parts.append(KeptKernels(target, source, score, weight, np.ones(len(target), np.bool_)))
        rows = [(channel, layer - 1, channel if layer else 0) for channel in range(sources)]
        if skip and layer > skip:
            rows += [(channel, layer - 1 - skip, channel) for channel in range(sources)]
        wires.append(ChannelSources(*np.array(rows, np.int64).T))
    return Circuit(tuple(parts), tuple(wires), ChannelSources(*(np.array([n]) for n in (0, layers - 1, 0))))


def on_paths(drawn: list[Connection], target: Channel) -> set[tuple[Channel, Channel]]:
    """The connections on a path from the image to the target, by search from both ends."""
    reached = []
    for start, near, far in ((IMAGE, "source", "target"), (target, "target", "source")):
        beside = defaultdict(list)
        for one in drawn:
            beside[getattr(one, near)].append(getattr(one, far))
        seen, waiting = {start}, [start]
        while waiting:
            for channel in beside[waiting.pop()]:
                if channel not in seen:
                    seen.add(channel)
                    waiting.append(channel)
        reached.append(seen)
    return {(one.source, one.target) for one in drawn if one.source in reached[0] and one.target in reached[1]}


def by_step(shown: Connections) -> list[list[Connection]]:
    """The drawn connections at every setting of the slider."""
    ends = [
        number for number, one in enumerate(shown.strongest) if number and one.step != shown.strongest[number - 1].step
    ]
    return [shown.strongest[:end] for end in [*ends, len(shown.strongest)]]


@pytest.mark.parametrize(("kernels", "layers", "skip"), [(50, 4, 0), (400, 8, 2), (3000, 12, 3), (50_000, 26, 2)])
def test_at_every_setting_drawn_edges_are_whole_paths(kernels: int, layers: int, skip: int) -> None:
    made = circuit(kernels, layers, np.random.default_rng(kernels), skip)
    shown = connections(made, 2000)
    settings = by_step(shown)
    for drawn in settings:
        assert on_paths(drawn, (layers - 1, 0)) == {(one.source, one.target) for one in drawn}
    assert len(settings[0]) < 3 * layers
    assert len(settings[-1]) == len(shown.strongest) <= 2000
    assert len(shown.strongest) > 1950 or not shown.left_out
    # One notch of the slider changes little.
    assert all(len(more) - len(fewer) <= max(12, 0.1 * len(more)) for fewer, more in pairwise(settings))


def naive(drawn: list[Connection], target: Channel) -> tuple[Counter[tuple[Channel, Channel]], float]:
    """The influence of each connection and their sum, by following every path."""
    into = defaultdict(list)
    for one in drawn:
        into[one.target].append(one)
    influences: Counter[tuple[Channel, Channel]] = Counter()
    total = 0.0
    waiting = [(target, 1.0, [])]
    while waiting:
        channel, product, path = waiting.pop()
        if channel == IMAGE:
            total += product
            influences.update(dict.fromkeys(path, product))
        for one in into[channel]:
            waiting.append((one.source, product * one.share, [*path, (one.source, one.target)]))
    return influences, total


@pytest.mark.parametrize("skip", [0, 1])
def test_influence_is_the_sum_over_paths(skip: int) -> None:
    made = circuit(60, 5, np.random.default_rng(skip), skip)
    everything = connections(made, 2000)
    assert everything.carried == pytest.approx(1)
    for target in {one.target for one in everything.strongest}:
        assert sum(one.share for one in everything.strongest if one.target == target) == pytest.approx(1)
    influences, total = naive(everything.strongest, (4, 0))
    assert total == pytest.approx(1)
    for one in everything.strongest:
        assert one.influence == pytest.approx(influences[one.source, one.target], rel=1e-9)
    few = connections(made, 20)
    assert few.left_out > 0
    assert few.carried == pytest.approx(naive(few.strongest, (4, 0))[1], rel=1e-9)


def test_shares_are_of_scores() -> None:
    target = np.array([1, 1, 2, 2, 3])
    assert shares(target, np.array([1.0, 3.0, 0.0, 0.0, 1e308]), 4).tolist() == [0.25, 0.75, 0.5, 0.5, 1.0]


def test_what_is_drawn_first_carries_most() -> None:
    """Of two strong edges whose paths are weak and two middling ones in a row, the path is drawn first."""
    # The image is 0, the target 7: 0-1-2-7 is middling, 0-3-4-7 begins strongly and ends weakly.
    source, target = np.array([[0, 1], [1, 2], [2, 7], [0, 3], [3, 4], [4, 7]]).T
    share = shares(target, np.array([1, 1, 0.9, 50, 50, 0.1]), 8)
    table = EdgeTable(source, target, share, 8, np.array([7]))
    assert sorted(whole_paths(table, 3).order) == [0, 1, 2]
    assert sorted(whole_paths(table, 6).order[3:]) == [3, 4, 5]


def test_loops_end() -> None:
    """A channel that reads itself passes on what comes out of the loop."""
    source, target = np.array([[0, 1], [1, 1], [1, 2]]).T
    table = EdgeTable(source, target, shares(target, np.array([1.0, 3.0, 1.0]), 3), 3, np.array([2]))
    influences, total = influence(table)
    assert influences.tolist() == pytest.approx([1.0, 3.0, 1.0])  # round the loop three times on average
    assert total == pytest.approx(1.0)
    assert sorted(whole_paths(table, 10).order) == [0, 1, 2]


def test_edges_on_no_path_come_last() -> None:
    source, target = np.array([[3, 2], [0, 1], [1, 2]]).T
    table = EdgeTable(source, target, shares(target, np.array([9.0, 1.0, 1.0]), 4), 4, np.array([2]))
    paths = whole_paths(table, 10)
    assert sorted(paths.order[:2]) == [1, 2]
    assert paths.order[2] == 0
    assert paths.step[2] > max(paths.step[:2])


def test_scores_that_are_no_numbers_are_none() -> None:
    made = circuit(60, 5, np.random.default_rng(2))
    made.kernels[2].score[:3] = [np.nan, np.inf, -1.0]
    shown = connections(made, 2000)
    assert shown.left_out == 0
    assert all(np.isfinite(one.influence) for one in shown.strongest)


def test_influence_is_that_of_contributions_where_they_are_known() -> None:
    made = circuit(60, 5, np.random.default_rng(4))
    rng = np.random.default_rng(5)
    flows = [rng.gamma(0.5, size=(len(kernels.target), 3)).astype(np.float32) for kernels in made.kernels]
    flows[3][:] = 0.0  # a layer that carries nothing has the shares of its scores
    shown = connections(made, 2000, flows).strongest
    for one in shown:
        layer, kernels = one.target[0], made.kernels[one.target[0]]
        (member,) = one.members
        mine = kernels.target == one.target[1]
        strength = kernels.score if layer == 3 else flows[layer].sum(1, dtype=np.float64)
        assert one.share == pytest.approx(strength[member] / strength[mine].sum(), rel=1e-6)
    for image in range(3):
        single = connections(made, 2000, [flow[:, image : image + 1] for flow in flows]).strongest
        found = {(one.source, one.target): (one.share, one.influence) for one in single}
        for one in shown:
            assert one.by_image[image] == pytest.approx(found[one.source, one.target], rel=1e-5)


@pytest.mark.parametrize(("kernels", "layers"), [(50, 4), (3000, 12)])
def test_a_page_opens_with_a_picture(kernels: int, layers: int) -> None:
    shown = connections(circuit(kernels, layers, np.random.default_rng(3)), 2000)
    ends = [len(drawn) for drawn in by_step(shown)]
    assert shown.until == ends
    drawn = ends[opening(shown) - 1]
    assert drawn == len(shown.strongest) if kernels == 50 else 140 < drawn <= 160
