"""Examples of a fidelity: responses of network and circuit, and the images that are kept best and worst."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.statistics import image_correlations
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.results.types import ExampleImage, FidelityExamples

# Pairs of responses that are kept; more would be one blot on a page.
PAIRS = 2000
# Images that are kept at either end.
ENDS = 4


def collect(
    subnetwork: TargetSubnetwork, images: ImageSet, network: Tensor, circuit: Tensor, seed: int
) -> FidelityExamples:
    """Collect examples of the subnetwork's responses to some images, float64 [images, maps and positions].

    Pairs are drawn without replacement where there are more than `PAIRS`. An image's own r is the Pearson correlation
    over its maps, 0 where the circuit's don't vary, NaN where the network's don't. Where a map is a single position
    there is no such r: images are told by how far off they are, in standard deviations of the network's responses.
    """
    shape = _shape(subnetwork, network.shape[1])
    varies = shape[1] * shape[2] > 1
    own = image_correlations(network, circuit, flat=0.0).numpy() if varies else _distances(network, circuit)
    # The best first; those of which nothing can be told are nowhere.
    order = np.argsort(-own if varies else own, kind="stable")
    order = order[~np.isnan(own[order])]
    # No image is shown at both ends.
    ends = min(ENDS, (len(order) + 1) // 2), min(ENDS, len(order) // 2)
    show = partial(_shown, images, network, circuit, shape, own)
    slope, offset = _line(network, circuit)
    pairs = _pairs(network.numel(), seed)
    return FidelityExamples(
        network=network.flatten()[pairs].numpy(),
        circuit=circuit.flatten()[pairs].numpy(),
        responses=network.numel(),
        slope=slope,
        offset=offset,
        pictures=own,
        correlations=varies,
        most=tuple(map(show, order[: ends[0]].tolist())),
        least=tuple(map(show, order[::-1][: ends[1]].tolist())),
    )


def _shape(subnetwork: TargetSubnetwork, responses: int) -> tuple[int, int, int]:
    """The maps that an image's responses are of, their rows and columns."""
    target = subnetwork.target
    maps = 1 if target.coefficients else len(target.units)
    positions = target.step.positions
    height, width = positions if len(positions) == 2 and target.at is None else (1, responses // maps)
    return maps, height, width


def _distances(network: Tensor, circuit: Tensor) -> NDArray[np.float64]:
    """Return how far each image's responses are off, in standard deviations of the network's."""
    spread = float(network.std(0, correction=0).mean()) or 1.0
    return ((network - circuit).square().mean(1).sqrt() / spread).numpy()


def _line(network: Tensor, circuit: Tensor) -> tuple[float, float]:
    """The slope and offset of the line through the circuit's responses that leaves the least squares."""
    f, c = network - network.mean(), circuit - circuit.mean()
    spread = float(f.square().sum())
    slope = float((f * c).sum()) / spread if spread > 0 else 0.0
    return slope, float(circuit.mean()) - slope * float(network.mean())


def _pairs(total: int, seed: int) -> Tensor:
    """The numbers of the responses that are kept, in order."""
    if total <= PAIRS:
        return torch.arange(total)
    # One of each of as many stretches of equal length: without replacement, and without a list of all.
    edges = torch.arange(PAIRS + 1) * total // PAIRS
    drawn = torch.rand(PAIRS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return edges[:-1] + (drawn * (edges[1:] - edges[:-1])).long()


def _shown(
    images: ImageSet,
    network: Tensor,
    circuit: Tensor,
    shape: tuple[int, int, int],
    own: NDArray[np.float64],
    index: int,
) -> ExampleImage:
    f, c = (maps[index].reshape(shape).float().numpy() for maps in (network, circuit))
    return ExampleImage(images.paths[index].name, images.rgb(index), f, c, float(own[index]))
