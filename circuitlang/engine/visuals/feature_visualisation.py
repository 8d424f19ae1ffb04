"""Images that excite a unit, made by gradient ascent through the network and through the circuit alone.

Feature visualisation as Olah, Mordvintsev and Schubert (Distill, 2017) describe it: the image is parametrised by its
spectrum and by decorrelated colours, and rotated, scaled and shifted at random in each step, so that it stays an image
rather than noise. It begins with that of some images of noise which excites the unit most: from a grey one, many units
can't be reached.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.images.preprocessing import shown, shown_range
from circuitlang.engine.visuals import amounts
from circuitlang.engine.visuals.excited_units import ExcitedUnits, of_channels, of_feature
from circuitlang.engine.visuals.spectrum import as_images, random_spectra, transformed
from circuitlang.engine.visuals.stored_images import NOT_STORED, StoredImages
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.progress import TrackProgress
from circuitlang.plugins.protocols import Edits
from circuitlang.results.connections import Channel
from circuitlang.results.types import FeatureVisualisations

RATE = 0.15  # of Adam in the first step, in spectrum coefficients; a tenth in the last
SIZE = 64  # side of the finished images
# Channels whose images are made at once: as many as fit in the memory of a small machine.
BATCH = 16


def visualise(
    subnetwork: TargetSubnetwork,
    edits: Edits,
    channels: Sequence[Channel],
    preprocess: Preprocess,
    seed: int,
    track: TrackProgress,
    stored: StoredImages = NOT_STORED,
    budget: bool = False,
) -> FeatureVisualisations:
    """Images for the feature, and for some channels, which are layer by layer, in the network and in the circuit; of
    channels that were chosen by a `budget`, in the network alone.

    A unit is excited at one position, the middle of its map where the target names none, and the part of the image
    that this position sees is shown. The same `seed` makes the same images.
    Those of channels in the network are `stored`.
    """
    made = partial(_made, subnetwork, preprocess=preprocess, seed=seed)
    # In the network once for all its circuits.
    key = "visualised", preprocess, seed, amounts.STEPS
    feature = subnetwork.memo.once(key, lambda: made(None, of_feature(subnetwork)))
    both = np.concatenate([feature, made(edits, of_feature(subnetwork))])
    images: dict[tuple[int, int], NDArray[np.uint8]] = {}
    settings = f"{preprocess} {seed} {amounts.STEPS} {amounts.SIDE} {RATE} {SIZE}"
    batches = list(_batches(channels))
    for number, batch in track(iter(batches), "visualising channels", len(batches)):
        node = subnetwork.nodes[subnetwork.layers[number].path]

        def cuts(version: Edits | None, members: Sequence[int], node: str = node) -> NDArray[np.uint8]:
            return made(version, of_channels(subnetwork, node, members))

        versions = [stored.of(node, settings, batch, partial(cuts, None))]
        versions += [] if budget else [cuts(edits, batch)]
        images |= {(number, channel): np.stack([of[place] for of in versions]) for place, channel in enumerate(batch)}
    return FeatureVisualisations(both, images, budget)


def ascend(units: ExcitedUnits, preprocess: Preprocess, seed: int, steps: int) -> Tensor:
    """Return images [units, C, h, w], one that excites each unit, between the values that are shown black and white;
    with no steps, those it begins with."""
    mean, std = (torch.tensor(statistic)[:, None, None] for statistic in (preprocess.mean, preprocess.std))
    low, high = (bound[:, None, None] for bound in shown_range(preprocess))
    generator = torch.Generator().manual_seed(seed)

    def images(spectra: Tensor) -> Tensor:
        return low + (high - low) * as_images(spectra, units.size)

    # The same for each: what differs between images is the units' doing.
    starts = random_spectra(amounts.STARTS, preprocess.channels, units.size, generator)
    with torch.no_grad():
        best = units.responses((images(starts) - mean) / std).argmax(0)
    spectra = starts[best].clone().requires_grad_()
    optimiser = torch.optim.Adam([spectra], lr=RATE)
    with torch.enable_grad():
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = RATE * (0.55 + 0.45 * math.cos(math.pi * step / steps))
            optimiser.zero_grad()
            responses = units.responses((transformed(images(spectra), generator) - mean) / std)
            (-responses.diagonal().sum()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return images(spectra).detach()


def _made(
    subnetwork: TargetSubnetwork, edits: Edits | None, units: ExcitedUnits, preprocess: Preprocess, seed: int
) -> NDArray[np.uint8]:
    """Return images [units, SIZE, SIZE, 3] that excite units in the network as it is edited, cut to what the position
    sees, as a person is shown them."""
    with subnetwork.edited(edits):
        made = ascend(units, preprocess, seed, amounts.STEPS)
    return np.stack([_cut(shown(preprocess, image), units) for image in made.permute(0, 2, 3, 1).numpy()])


def _cut(picture: NDArray[np.uint8], units: ExcitedUnits) -> NDArray[np.uint8]:
    height, width, _ = picture.shape
    top, left, bottom, right = units.seen or (0, 0, height, width)
    part = picture[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    resample = Image.Resampling.NEAREST if max(part.shape[:2]) <= SIZE // 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(part).resize((SIZE, SIZE), resample))


def _batches(channels: Sequence[Channel]) -> Iterator[tuple[int, list[int]]]:
    """The channels of a layer, a few at a time, by the layer's number."""
    for layer, members in groupby(channels, key=itemgetter(0)):
        numbers = [channel for _, channel in members]
        for start in range(0, len(numbers), BATCH):
            yield layer, numbers[start : start + BATCH]
