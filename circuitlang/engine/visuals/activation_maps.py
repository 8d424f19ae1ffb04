"""Activation maps of a few images in the network and in the circuit, for the diagram."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork, as_maps
from circuitlang.engine.evaluation.statistics import image_correlations
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.visuals.amounts import MIDDLE, SHOWN, STRONGEST, WEAKEST
from circuitlang.plugins.protocols import Edits
from circuitlang.results.types import ActivationMaps, Circuit

# Sides in pixels that maps and images are reduced to, where they are larger.
MAP, THUMBNAIL = 28, 96


def collect(
    subnetwork: TargetSubnetwork, images: ImageSet, strength: Tensor, circuit: Circuit, edits: Edits
) -> ActivationMaps:
    """The maps of every channel with an effective kernel, of a few of the images, whatever their number.

    `strength[n]` says how strong the feature responds to each of the images.
    """
    chosen = choose(strength)
    few = images.take(chosen)
    seen = [
        _seen(subnetwork, torch.cat(list(few.batches("images to look at"))), version)
        for version in (None, edits)  # the network, the circuit
    ]
    maps: dict[tuple[int, int], NDArray[np.uint8]] = {}
    scales: dict[tuple[int, int], float] = {}
    for number, (layer, kernels) in enumerate(zip(subnetwork.layers, circuit.kernels, strict=True)):
        both = torch.stack([values[subnetwork.nodes[layer.path]] for _, values in seen], 1)
        for channel in np.unique(kernels.target[kernels.effective]).tolist():
            maps[number, channel], scales[number, channel] = quantise(both[:, :, channel])
    features = torch.stack([feature for feature, _ in seen], 1)
    if not any(kernels.effective.any() for kernels in circuit.kernels):
        # As where it is judged: what it answers has nothing of the images.
        features[:, 1] = features[:, 1].mean()
    feature, scale = quantise(torch.stack([reduce_maps(feature)[:, 0] for feature, _ in seen], 1))
    return ActivationMaps(
        pictures=np.stack([thumbnail(few.rgb(index)) for index in range(len(few))]),
        names=tuple(path.name for path in few.paths),
        maps=maps,
        scales=scales,
        feature=feature,
        scale=scale,
        similarity=image_correlations(*(tensor.flatten(1).double() for tensor in features.unbind(1))).numpy(),
    )


def choose(strength: Tensor) -> list[int]:
    """The numbers of the images to show, the strongest response first; all of them where there are few."""
    order = torch.sort(strength.nan_to_num(), descending=True, stable=True).indices.tolist()
    if len(order) <= SHOWN:
        return order
    middle = (len(order) - MIDDLE) // 2
    # Never one of the others: of nine images, the middle ones are the fifth and the sixth.
    middle = max(middle, STRONGEST)
    return [*order[:STRONGEST], *order[middle : middle + MIDDLE], *order[-WEAKEST:]]


def quantise(maps: Tensor) -> tuple[NDArray[np.uint8], float]:
    """Values as whole numbers around `Scenes.ZERO`, and the value that the largest of them stands for."""
    values = maps.double().cpu().nan_to_num()
    scale = float(values.abs().max()) if values.numel() else 0.0
    shares = values / scale if scale > 0 else torch.zeros_like(values)
    return (ActivationMaps.ZERO + shares * ActivationMaps.ZERO).round().to(torch.uint8).numpy(), scale


def _seen(subnetwork: TargetSubnetwork, images: Tensor, edits: Edits | None) -> tuple[Tensor, dict[str, Tensor]]:
    """The feature's map [N, 1, H, W] and the maps of every layer [N, C, h, w], reduced."""
    with torch.no_grad(), subnetwork.edited(edits):
        feature = subnetwork.maps(images).mean(1, keepdim=True)
        values = subnetwork.values(images, set(subnetwork.nodes.values()))
    steps = subnetwork.graph.steps
    return feature.cpu(), {name: reduce_maps(as_maps(value, steps[name])).cpu() for name, value in values.items()}


def reduce_maps(maps: Tensor) -> Tensor:
    height, width = maps.shape[2:]
    if max(height, width) <= MAP:
        return maps
    return functional.adaptive_avg_pool2d(maps, (min(height, MAP), min(width, MAP)))


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, _ = picture.shape
    if max(height, width) <= THUMBNAIL:
        return picture
    return np.asarray(Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS))
