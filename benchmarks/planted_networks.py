"""Networks whose circuits are known: they are built, not trained.

A few kernels make the feature, and all others provably don't matter to it, though many are larger, and what they read
and feed is busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.planted_sketch import (
    ANGLES,
    BLUE,
    CARRIER,
    GREEN,
    LINE,
    ONE_LINE,
    RED,
    THRESHOLD,
    UNIT,
    Circuit,
    Kernel,
    ResidualNet,
    Sketch,
    Taps,
    can_be_spared,
    pictures,
)


def feature(
    sketch: Sketch, angles: Sequence[int], colours: Mapping[int, int], pairs: Sequence[tuple[int, int]], seed: int
) -> Circuit:
    """Plant crossings of lines: a detector for each angle, which sees colours with a sign, and a channel for each pair
    of detectors that is active where both together are strong enough; the target adds these up, the second negatively.
    The same seed gives the same weights again."""
    random = np.random.default_rng(seed)
    planted: set[Kernel] = set()
    detectors = [
        sketch.add("detect", {colour: sign * np.array(LINE[angle]) for colour, sign in colours.items()})
        for angle in angles
    ]
    planted |= {("detect", detector, colour) for detector in detectors for colour in colours}
    for number, pair in enumerate(pairs):
        blobs = {detectors[which]: random.integers(1, 4, size=(3, 3)) for which in pair}
        crossing = sketch.add("combine", blobs, -THRESHOLD)
        sketch.target[crossing] = (-1) ** number * random.integers(1, 4, size=(3, 3))
        planted |= {("combine", crossing, detector) for detector in blobs} | {("decide", UNIT, crossing)}
    return frozenset(planted)


def cancel(sketch: Sketch) -> None:
    """Pairs of channels that are the same, active, and read with opposite signs: each matters, both together don't.

    Their weights are drawn as those of crossings are.
    """
    twins = []
    for crossing in list(sketch.channels["combine"]):
        line = np.array(LINE[int(sketch.random.choice(ANGLES))])
        twins.append([sketch.add("detect", {RED: line, GREEN: -line}) for _ in range(2)])
        taps = sketch.taps(1, 3)
        crossing.kernels.update({twin: sign * taps for twin, sign in zip(twins[-1], (1, -1), strict=True)})
    blobs, taps = [sketch.taps(1, 3) for _ in twins], sketch.taps(1, 3)
    for sign in (1, -1):
        seen = {pair[0]: blob for pair, blob in zip(twins, blobs, strict=True)}
        sketch.target[sketch.add("combine", seen, -THRESHOLD)] = sign * taps


def distract(sketch: Sketch) -> None:
    """Surround what is there by channels that are large, and busy or dead, and never matter to the feature."""
    crossings = list(sketch.channels["combine"])
    busy = [sketch.add("detect", {colour: sketch.taps(-4, 8) for colour in range(3)}) for _ in range(6)]
    # Pixels aren't negative, so these never are active.
    dead = [sketch.add("detect", {colour: sketch.taps(-8, -1) for colour in range(3)}) for _ in range(4)]
    for crossing in crossings:
        crossing.kernels.update({detector: sketch.taps(-8, 8) for detector in dead})
    for _ in range(4):
        seen = range(len(sketch.channels["detect"]))
        silent = sketch.add("combine", {detector: sketch.taps(-8, -1) for detector in seen})
        sketch.target[silent] = sketch.taps(-8, 8)
    # Another feature of the same layer, made of what is busy, is nobody's concern.
    for _ in range(2):
        other = sketch.add("combine", {detector: sketch.taps(-4, 4) for detector in busy})
        sketch.channels["decide"][1 - UNIT].kernels[other] = sketch.taps(-4, 4)


def hold(sketch: Sketch) -> None:
    """Channels that are the same everywhere in every picture: they move the feature's mean, and nothing else."""
    steady = [sketch.add("detect", {BLUE: sketch.taps(1, 3)}) for _ in range(2)]
    for sign in (1, 1, -1):
        held = sketch.add("combine", {detector: sketch.taps(1, 3) for detector in steady})
        sketch.target[held] = sign * sketch.taps(1, 3)


@dataclass(frozen=True)
class Planted:
    """A network, pictures to score kernels on and others, and the circuits that alone make what the whole network
    makes of them, divided by `scale` and up to a constant."""

    module: nn.Module
    train: Tensor
    test: Tensor
    truths: tuple[Circuit, ...]
    scale: int = 1


def _drawn(seed: int, *colours: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pictures to score on and others; for each of some palettes equally many."""
    made = [
        torch.cat(
            [pictures(24 // len(colours), 1000 * seed + 10 * half + n, colour) for n, colour in enumerate(colours)]
        )
        for half in range(2)
    ]
    return made[0], made[1]


def _angles(sketch: Sketch) -> list[int]:
    return [int(angle) for angle in sketch.random.permutation(ANGLES)]


def _opponent(seed: int, *more: Callable[[Sketch], None]) -> Planted:
    sketch = Sketch(seed)
    truth = feature(sketch, _angles(sketch)[:3], {RED: 1, GREEN: -1}, [(0, 1), (1, 2)], seed)
    for change in (*more, distract):
        change(sketch)
    module, called = sketch.module()
    return Planted(module, *_drawn(seed, (RED, GREEN)), (called(truth),))


def distractors(seed: int) -> Planted:
    """Two crossings of lines that are red and not green, among what is large and idle."""
    return _opponent(seed)


def constants(seed: int) -> Planted:
    """The same, and channels that never vary."""
    return _opponent(seed, hold)


def cancelling(seed: int) -> Planted:
    """The same, and active channels that cancel out."""
    return _opponent(seed, cancel)


def redundant(seed: int) -> Planted:
    """A red and a green crossing, each computed twice: one of either kind will do, and makes half of the sum."""
    sketch = Sketch(seed)
    angles = _angles(sketch)
    parts = [
        [feature(sketch, own, {colour: 1}, [(0, 1)], 2 * seed + number) for _ in range(2)]
        for number, (own, colour) in enumerate(((angles[:2], RED), (angles[2:], GREEN)))
    ]
    distract(sketch)
    module, called = sketch.module()
    truths = tuple(called(frozenset().union(*chosen)) for chosen in product(*parts))
    return Planted(module, *_drawn(seed, (RED, GREEN)), truths, scale=2)


def halves_of_or(seed: int) -> tuple[nn.Module, Circuit, Circuit]:
    """A feature that is there for a red crossing and for a green one, and the circuits of both."""
    sketch = Sketch(seed)
    angles = _angles(sketch)
    red = feature(sketch, angles[:2], {RED: 1}, [(0, 1)], 2 * seed)
    green = feature(sketch, angles[2:], {GREEN: 1}, [(0, 1)], 2 * seed + 1)
    distract(sketch)
    module, called = sketch.module()
    return module, called(red), called(green)


def either(seed: int) -> Planted:
    """The OR of a red and a green crossing, on pictures of red bars and others of green ones."""
    module, red, green = halves_of_or(seed)
    return Planted(module, *_drawn(seed, (RED,), (GREEN,)), (red | green,))


def half(seed: int) -> Planted:
    """The same networks, on the pictures of red bars alone: what the green half is made of is not wanted."""
    module, red, _ = halves_of_or(seed)
    return Planted(module, *_drawn(seed, (RED,)), (red,))


def _taps(random: np.random.Generator, number: int, weight: int) -> Taps:
    """A kernel with a few weights that are the same."""
    taps = np.zeros(9, dtype=np.int64)
    taps[random.permutation(9)[:number]] = weight
    return taps.reshape(3, 3)


def _seeds(seed: int) -> Iterator[int]:
    """Seeds to try one after another, which no other seed tries."""
    return count(1000 * seed)


def _sharing(seed: int) -> tuple[nn.Module, Circuit, Circuit]:
    """The first of the networks of `_sharing_once` of which no kernel can be spared, in both halves or in one."""
    both, one = _drawn(seed, (RED,), (GREEN,))[0], _drawn(seed, (RED,))[0]
    for attempt in _seeds(seed):
        module, red, green = _sharing_once(attempt)
        if not can_be_spared(module, red, one) and not can_be_spared(module, red | green, both):
            break
    return module, red, green


def _sharing_once(seed: int) -> tuple[nn.Module, Circuit, Circuit]:
    """A red and a green crossing that have a detector in common, which sees both colours; and the circuits of both.

    One line of the shared detector alone never makes a crossing active.
    """
    sketch = Sketch(seed)
    random = np.random.default_rng(seed)
    common, *others = _angles(sketch)
    shared = sketch.add("detect", {colour: np.array(LINE[common]) for colour in (RED, GREEN)})
    circuits = []
    for colour, angle in zip((RED, GREEN), others, strict=False):
        own = sketch.add("detect", {colour: np.array(LINE[angle])})
        crossing = sketch.add("combine", {shared: _taps(random, 1, 3), own: _taps(random, 1, 4)}, -ONE_LINE)
        sketch.target[crossing] = random.integers(1, 4, size=(3, 3))
        detectors = {("detect", shared, colour), ("detect", own, colour)}
        circuits.append(
            detectors | {("combine", crossing, shared), ("combine", crossing, own), ("decide", UNIT, crossing)}
        )
    distract(sketch)
    module, called = sketch.module()
    red, green = (called(frozenset(circuit)) for circuit in circuits)
    return module, red, green


def shared(seed: int) -> Planted:
    """The OR of a red and a green crossing that share a detector, on images of red bars and others of green ones."""
    module, red, green = _sharing(seed)
    return Planted(module, *_drawn(seed, (RED,), (GREEN,)), (red | green,))


def shared_half(seed: int) -> Planted:
    """The same networks, on the images of red bars alone: of the shared detector one kernel is wanted."""
    module, red, _ = _sharing(seed)
    return Planted(module, *_drawn(seed, (RED,)), (red,))


def superposed(seed: int) -> Planted:
    """The first of the networks of `_superposed_once` in which no kernel can be spared."""
    train, test = _drawn(seed, (RED, GREEN))
    for attempt in _seeds(seed):
        module, truth = _superposed_once(attempt)
        if not can_be_spared(module, truth, train):
            break
    return Planted(module, train, test, (truth,))


def _superposed_once(seed: int) -> tuple[nn.Module, Circuit]:
    """A red and a green crossing of lines that no channel has alone: one has the sum of a line and of another that is
    not wanted, a second one their difference, and the crossing adds them up."""
    sketch = Sketch(seed)
    random = np.random.default_rng(seed)
    angles = _angles(sketch)
    planted: set[Kernel] = set()
    for colour in (RED, GREEN):
        seen: dict[int, Taps] = {}
        unwanted: dict[int, Taps] = {}
        for wanted, other in zip(angles[:2], angles[2:], strict=True):
            line, second = np.array(LINE[wanted]), np.array(LINE[other])
            pair = [sketch.add("detect", {colour: line + sign * second}, CARRIER) for sign in (1, -1)]
            blob = random.integers(1, 4, size=(3, 3))
            seen.update(dict.fromkeys(pair, blob))
            unwanted.update({channel: sign * blob for channel, sign in zip(pair, (1, -1), strict=True)})
        bias = -THRESHOLD - CARRIER * int(sum(taps.sum() for taps in seen.values()))
        crossing = sketch.add("combine", seen, bias)
        sketch.target[crossing] = random.integers(1, 4, size=(3, 3))
        planted |= {("detect", channel, colour) for channel in seen} | {
            ("combine", crossing, channel) for channel in seen
        }
        planted.add(("decide", UNIT, crossing))
        # The lines that aren't wanted are read from the same channels, for the other feature.
        sketch.channels["decide"][1 - UNIT].kernels[sketch.add("combine", unwanted)] = sketch.taps(1, 4)
    distract(sketch)
    module, called = sketch.module()
    return module, called(frozenset(planted))


def residual(seed: int) -> Planted:
    """A crossing of red lines that a residual block adds to the stream, and a line that skips the block, with norms."""
    sketch = Sketch(seed, ResidualNet)
    random = np.random.default_rng(seed)
    lines = [sketch.add("detect", {RED: np.array(LINE[angle])}) for angle in _angles(sketch)[:3]]
    busy = [sketch.add("detect", {colour: sketch.taps(-4, 8) for colour in range(3)}) for _ in range(5)]
    # Pixels aren't negative: what is in these channels, the block has added.
    dead = [sketch.add("detect", {colour: sketch.taps(-8, -1) for colour in range(3)}) for _ in range(4)]
    crossing = sketch.add("combine", {line: _taps(random, 4, 1) for line in lines[:2]}, -THRESHOLD // 4)
    sketch.channels["combine"][crossing].kernels.update({channel: sketch.taps(-8, 8) for channel in dead})
    stream = len(sketch.channels["detect"])
    silent = [sketch.add("combine", {channel: sketch.taps(-8, -1) for channel in range(stream)}) for _ in range(3)]
    other = [sketch.add("combine", {channel: sketch.taps(-4, 4) for channel in busy}) for _ in range(2)]
    for channel in range(stream):
        readers = [*silent, *other] if channel in busy else silent
        sketch.add("write", {combination: sketch.taps(-8, 8) for combination in readers})
    sketch.channels["write"][dead[0]].kernels[crossing] = _taps(random, 1, 1)
    sketch.target.update({channel: sketch.taps(-8, 8) for channel in dead[1:]})
    sketch.target[dead[0]] = random.integers(1, 4, size=(3, 3))
    sketch.target[lines[2]] = random.integers(2, 6, size=(3, 3))
    sketch.channels["decide"][1 - UNIT].kernels.update({channel: sketch.taps(-4, 4) for channel in busy})
    truth = {("detect", line, RED) for line in lines} | {("combine", crossing, line) for line in lines[:2]}
    truth |= {("write", dead[0], crossing), ("decide", UNIT, dead[0]), ("decide", UNIT, lines[2])}
    module, called = sketch.module()
    return Planted(module, *_drawn(seed, (RED, GREEN)), (called(frozenset(truth)),))


SCENARIOS = {
    "distractors": distractors,
    "constants": constants,
    "cancelling": cancelling,
    "redundant": redundant,
    "OR": either,
    "OR, half the images": half,
    "shared": shared,
    "shared, half the images": shared_half,
    "superposition": superposed,
    "residual": residual,
}
