"""Small circuits that are drawn: results with kernels and wires as tests say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuitlang.plan import model as plan
from circuitlang.results.types import (
    ChannelSources,
    Circuit,
    Fidelity,
    KeptKernels,
    LayerSummary,
    Provenance,
    Result,
    Summary,
)

RGB = [(0, -1, 0), (1, -1, 1), (2, -1, 2)]


@dataclass
class Made:
    """A layer to make: kernels (target, source, score, weight, effective), wires (source, origin, channel)."""

    kernels: list[tuple[int, int, float, float, bool]]
    wires: list[tuple[int, int, int]]
    name: str = ""
    side: int = 3


def result(layers: list[Made], unit: int, target: str | None = None) -> Result:
    names = [layer.name or f"conv{number}" for number, layer in enumerate(layers, start=1)]
    kept = [len(layer.kernels) for layer in layers]
    effective = [sum(kernel[4] for kernel in layer.kernels) for layer in layers]
    summary = Summary(
        plan=plan.Circuit(
            id="test",
            target=plan.Channel(target or names[-1], unit),
            images="dogs",
            size=plan.Kernels(1),
            criterion=plan.Choice("snip"),
            ablation=plan.Choice("zero"),
        ),
        model=plan.Model("bundled", "doodle"),
        relevant=10 * sum(kept),
        asked=sum(kept),
        kept=sum(kept),
        effective=sum(effective),
        layers=[
            LayerSummary(
                name=name,
                path=f"features.{number}",
                kind="Conv2d",
                out_channels=9,
                in_channels=9,
                groups=1,
                relevant=10 * kept[number],
                zero=0,
                kept=kept[number],
                effective=effective[number],
            )
            for number, name in enumerate(names)
        ],
        train=Fidelity(images=8, metrics={"pearson": 0.99}),
        test=Fidelity(images=8, metrics={"pearson": 0.934}),
        without=Fidelity(images=8, metrics={"pearson": 0.1}),
        baselines={},
        parameters=100,
        extracted_difference=1e-7,
        provenance=Provenance(identity="", weights="", train_images="", test_images="", versions={}),
    )
    place = names.index(target) if target in names else len(names) - 1
    carried = ChannelSources(*(np.array([each]) for each in (0, place, unit)))
    wires = tuple(map(_wire, layers))
    return Result(summary, Circuit(tuple(map(_kernels, layers)), wires, carried))


def _kernels(layer: Made) -> KeptKernels:
    columns = list(zip(*layer.kernels, strict=True)) or [()] * 5
    weight = np.array(columns[3], np.float32).reshape(-1, 1, 1)
    return KeptKernels(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64),
        np.broadcast_to(weight / layer.side**2, (len(weight), layer.side, layer.side)).copy(),
        np.array(columns[4], np.bool_),
    )


def _wire(layer: Made) -> ChannelSources:
    source, origin, channel = np.array(layer.wires, np.int64).reshape(-1, 3).T
    return ChannelSources(source, origin, channel)


def fed_by(origin: int, channels: int) -> list[tuple[int, int, int]]:
    return [(channel, origin, channel) for channel in range(channels)]


def chain() -> Result:
    return result(
        [
            Made([(4, 0, 0.9, 1.0, True), (4, 1, 0.3, 0.5, True), (5, 2, 0.1, -1.0, False)], RGB, side=7),
            Made([(2, 4, 0.5, -1.0, True), (3, 4, 0.25, 1.0, True), (1, 7, 0.8, 1.0, False)], fed_by(0, 8)),
            Made([(6, 2, 0.4, 0.0, True), (6, 3, 0.01, 1.0, True)], fed_by(1, 8)),
        ],
        unit=6,
    )


def residual() -> Result:
    """conv3's input is conv1 + conv2, channel by channel; conv2:1 is dead."""
    return result(
        [
            Made([(0, 0, 0.9, 1.0, True), (1, 0, 0.9, 1.0, True)], RGB),
            Made([(0, 0, 0.5, 1.0, True)], fed_by(0, 2)),
            Made([(3, 0, 0.5, 1.0, True), (3, 1, 0.4, -1.0, True)], [*fed_by(0, 2), *fed_by(1, 2)]),
        ],
        unit=3,
    )


def concatenated() -> Result:
    """head's input is branch1, then branch3; both start from the stem."""
    return result(
        [
            Made([(0, 0, 0.9, 1.0, True)], RGB, "stem"),
            Made([(1, 0, 0.5, 1.0, True)], fed_by(0, 2), "branch1", side=1),
            Made([(0, 0, 0.5, -1.0, True)], fed_by(0, 2), "branch3"),
            Made([(7, 1, 0.5, 1.0, True), (7, 2, 0.4, 1.0, True)], [(0, 1, 0), (1, 1, 1), (2, 2, 0)], "head"),
        ],
        unit=7,
    )


def flattened() -> Result:
    """A linear layer after four positions of two channels: channel 0 is 0..3, channel 1 is 4..7."""
    flatten = [(4 * channel + place, 0, channel) for channel in range(2) for place in range(4)]
    weights = [0.5, 0.5, 0.5, -2.0, 1.0]
    linear = [(9, source, 0.1 * (source + 1), weight, True) for source, weight in enumerate(weights)]
    return result(
        [
            Made([(0, 0, 0.9, 1.0, True), (1, 1, 0.8, 1.0, True)], RGB),
            Made(linear, flatten, "fc", side=1),
        ],
        unit=9,
    )


def empty() -> Result:
    return result([Made([(0, 0, 0.9, 1.0, False)], RGB), Made([], fed_by(0, 4))], unit=2)


def crowd(kernels: int, channels: int, skipping: int = 0) -> Result:
    rng = np.random.default_rng(kernels)

    def drawn(count: int, targets: int, sources: int) -> list[tuple[int, int, float, float, bool]]:
        places = rng.choice(targets * sources, count, replace=False)
        scores = rng.gamma(0.5, size=count)
        return [
            (int(p) // sources, int(p) % sources, float(s), float(rng.normal()), True)
            for p, s in zip(places, scores, strict=True)
        ]

    first = [(channel, 0, 0.5, 1.0, True) for channel in range(channels)]
    last = [(channel, channel, 0.5, 1.0, True) for channel in range(channels)]
    middle = kernels - 3 * channels
    skip = [*fed_by(1, channels), *[(channel, 0, channel) for channel in range(skipping)]]
    return result(
        [
            Made(first, RGB, side=5),
            Made(drawn(middle // 2, channels, channels), fed_by(0, channels)),
            Made(drawn(middle - middle // 2, channels, channels), skip),
            Made(last, fed_by(2, channels)),
            Made([(0, channel, 0.5, -1.0, True) for channel in range(channels)], fed_by(3, channels)),
        ],
        unit=0,
    )


EVERY = {
    "chain": chain,
    "residual": residual,
    "concatenated": concatenated,
    "flattened": flattened,
    "empty": empty,
    "500": lambda: crowd(500, 40, skipping=10),
    "3000": lambda: crowd(3000, 90),
}
