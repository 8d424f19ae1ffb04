"""The fidelity of a finished circuit's kernels under several ablations of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.optimal_ablation import optimal_ablation
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.plan.clauses import Choice, Robust
from circuitlang.plugins.protocols import Edits, Masks

# The standard deviation of the blur, as a share of an image's shorter side.
BLUR = 1 / 16


class Robustness:
    """Responses of a circuit's kernels, without a refit, when all others are ablated in some way.

    Args:
        builder: Builder of the circuit; means and optimal constants are those of its images.
        masks: The circuit's kernels, by layer.
        train: The images that the circuit was found on, and the network's responses to them.
        judged: The images that it is measured on.
        run: Returns the responses [images, positions] of the network with edits to the judged images.
    """

    def __init__(
        self,
        builder: Builder,
        masks: Masks,
        train: tuple[ImageSet, Tensor],
        judged: ImageSet,
        run: Callable[[Edits], Tensor],
    ) -> None:
        self._train, self._wanted = train
        self._masks, self._judged, self._run = masks, judged, run
        self._plain = replace(builder, ablation=Choice("zero"), calibrate="none")
        own = builder.ablation.name == "mean" and builder.calibrate == "none"
        # Means that are there already are not computed again.
        self._mean = builder if own else replace(self._plain, ablation=Choice("mean"))

    def responses(self, way: Robust) -> Tensor | None:
        """Return the responses [images, positions] under one ablation; None where no other image is there."""
        match way:
            case "zero":
                return self._run(self._plain.ablated(self._masks))
            case "mean":
                return self._run(self._mean.ablated(self._masks))
            case "optimal":
                # Single weights have no mean to be replaced by.
                builders = (self._plain,) if self._plain.structure == "weight" else (self._plain, self._mean)
                starts = [builder.ablated(self._masks) for builder in builders]
                subnetwork = self._plain.subnetwork
                return self._run(optimal_ablation(subnetwork, self._train, self._wanted, starts))
            case "resample":
                partners = resampled(self._judged, self._train, self._plain.seed)
                return None if partners is None else self._substituted(partners.batches("other images"))
            case "blur":
                return self._substituted(map(blurred, self._judged.batches("blurred images")))

    def _substituted(self, others: Iterator[Tensor]) -> Tensor:
        """Return the responses where removed kernels put out what they do in the network for other images."""
        subnetwork, batches = self._plain.subnetwork, self._judged.batches("circuits on images and others")
        parts = [
            subnetwork.substituted(batch, other, self._masks) for batch, other in zip(batches, others, strict=True)
        ]
        return torch.cat([part.flatten(1).double().cpu() for part in parts])


def resampled(images: ImageSet, others: ImageSet, seed: int) -> ImageSet | None:
    """Return another image for each of some images, drawn by a seed from others; None if one has no other.

    The draw depends on the contents of the images, not on their order or on their number.
    """
    order = sorted(range(len(others)), key=lambda index: others.digests[index])
    partners = []
    for digest, content in zip(images.digests, images.contents, strict=True):
        candidates = [index for index in order if others.contents[index] != content]
        if not candidates:
            return None
        generator = np.random.default_rng((seed, int(digest[:16], 16)))
        partners.append(candidates[int(generator.integers(len(candidates)))])
    return replace(others.take(partners), batch_size=images.batch_size)


def blurred(images: Tensor) -> Tensor:
    """Return images [N, C, H, W] after a Gaussian filter, whose standard deviation is a share of the shorter side."""
    deviation = BLUR * min(images.shape[2:])
    # Reflection at the border needs as many pixels.
    reach = min(int(4 * deviation + 0.5), min(images.shape[2:]) - 1)
    places = torch.arange(-reach, reach + 1, device=images.device).double()
    kernel = torch.exp(-0.5 * (places / deviation).square())
    kernel = (kernel / kernel.sum()).to(images)
    channels = images.shape[1]
    rows = functional.pad(images, (0, 0, reach, reach), "reflect")
    rows = functional.conv2d(rows, kernel.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    columns = functional.pad(rows, (reach, reach, 0, 0), "reflect")
    return functional.conv2d(columns, kernel.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
