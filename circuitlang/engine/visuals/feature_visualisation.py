"""Images that excite a unit, made by gradient ascent through the network and through the circuit alone.

Feature visualisation as Olah, Mordvintsev and Schubert (Distill, 2017) describe it: the image is parametrised by its
spectrum, amplitudes falling with frequency, and by brightness and two opponent colours, and shifted at random in each
step, so that it stays an image rather than noise. Where a network does not take three channels, each has a spectrum of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork, as_maps
from circuitlang.engine.graph.receptive_field import receptive_field
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.images.preprocessing import shown, shown_range
from circuitlang.engine.visuals import amounts
from circuitlang.engine.visuals.stored_images import NOT_STORED, StoredImages
from circuitlang.engine.visuals.visualised_part import middle, part
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.progress import TrackProgress
from circuitlang.plugins.protocols import Edits
from circuitlang.results.connections import Channel
from circuitlang.results.types import FeatureVisualisations

RATE = 0.045  # of Adam, in spectrum coefficients
SIZE = 64  # side of the finished images
# Channels whose images are made at once: as many as fit in the memory of a small machine.
BATCH = 16
# The largest logit of a colour: 0.04 and 0.96 of full brightness.
_CONTRAST = 3.2
# Brightness, red against blue, green against both, by how much of each natural images have.
_COLOURS = ((0.58, 0.58, 0.58), (0.25, 0.0, -0.25), (0.08, -0.16, 0.08))

# Images [N, C, H, W], normalised → how strong each excites what it is made for [N].
Objective = Callable[[Tensor], Tensor]


def visualise(
    subnetwork: TargetSubnetwork,
    edits: Edits,
    channels: Sequence[Channel],
    preprocess: Preprocess,
    seed: int,
    track: TrackProgress,
    stored: StoredImages = NOT_STORED,
) -> FeatureVisualisations:
    """Images for the feature, and for some channels, which are layer by layer.

    A unit is excited at one position, the middle of its map where the target names none, and the part of the image
    that this position sees is shown. The same `seed` makes the same images.
    Those of channels in the network are `stored`.
    """
    pictures = [
        _in_network(subnetwork, preprocess, seed),
        _made(subnetwork, edits, preprocess, seed, of_feature(subnetwork), 1),
    ]
    feature = _cuts(subnetwork, preprocess, pictures, subnetwork.target.step.name, _position(subnetwork.target))
    images: dict[tuple[int, int], NDArray[np.uint8]] = {}
    settings = f"{preprocess} {seed} {amounts.LONGER * amounts.STEPS} {RATE} {SIZE}"
    batches = list(_batches(channels))
    for number, batch in track(iter(batches), "visualising channels", len(batches)):
        node = subnetwork.nodes[subnetwork.layers[number].path]

        def cuts(version: Edits | None, members: Sequence[int], node: str = node) -> NDArray[np.uint8]:
            objective = of_channels(subnetwork, node, members)
            pictures = _made(subnetwork, version, preprocess, seed, objective, len(members), amounts.LONGER)
            both = _cuts(subnetwork, preprocess, [pictures], node, middle(subnetwork.graph.steps[node].positions))
            return np.concatenate(both)

        network = stored.of(node, settings, batch, partial(cuts, None))
        both = np.stack([network, cuts(edits, batch)])
        images |= {(number, channel): both[:, place] for place, channel in enumerate(batch)}
    return FeatureVisualisations(feature[:, 0], images)


def ascend(objective: Objective, preprocess: Preprocess, count: int, seed: int, steps: int) -> Tensor:
    """Images [count, C, size, size] that excite an objective, between the values that are shown black and white; with
    no steps, those it begins with."""
    size = preprocess.crop
    mean, std = (torch.tensor(statistic)[:, None, None] for statistic in (preprocess.mean, preprocess.std))
    low, high = (bound[:, None, None] for bound in shown_range(preprocess))
    generator = torch.Generator().manual_seed(seed)
    # The same beginning for each: what differs between images is the units' doing.
    start = torch.randn(1, preprocess.channels, size, size // 2 + 1, 2, generator=generator)
    spectrum = (0.02 * start).repeat(count, 1, 1, 1, 1).requires_grad_()
    optimiser = torch.optim.Adam([spectrum], lr=RATE)
    reach = max(1, size // 16)
    with torch.enable_grad():
        for _ in range(steps):
            down, right = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            shifted = low + (high - low) * as_pictures(spectrum, size).roll((down, right), (2, 3))
            optimiser.zero_grad()
            (-objective((shifted - mean) / std).sum()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return (low + (high - low) * as_pictures(spectrum, size)).detach()


def as_pictures(spectrum: Tensor, size: int) -> Tensor:
    """Spectra [N, C, size, size / 2 + 1, 2] of brightness and opponent colours, or of channels, as images in 0..1."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    amplitude = 1 / frequency.clamp_min(1 / size)
    planes = torch.fft.irfft2(torch.view_as_complex(spectrum) * amplitude, s=(size, size), norm="ortho")
    mixed = torch.tensor(_COLOURS) if planes.shape[1] == 3 else _COLOURS[0][0] * torch.eye(planes.shape[1])
    colours = torch.einsum("nchw,ck->nkhw", planes, mixed)
    # A unit of an early layer wants ever more contrast, and would end in black and white.
    return torch.sigmoid(colours * (_CONTRAST / colours.abs().amax((1, 2, 3), keepdim=True).clamp_min(_CONTRAST)))


def _in_network(subnetwork: TargetSubnetwork, preprocess: Preprocess, seed: int) -> Tensor:
    """Return the image that excites the feature in the network, made once for all its circuits."""
    key = "visualised", preprocess, seed, amounts.STEPS
    return subnetwork.memo.once(key, lambda: _made(subnetwork, None, preprocess, seed, of_feature(subnetwork), 1))


def _made(
    subnetwork: TargetSubnetwork,
    edits: Edits | None,
    preprocess: Preprocess,
    seed: int,
    objective: Objective,
    count: int,
    longer: int = 1,
) -> Tensor:
    """Return images that excite an objective in the network as it is edited [count, C, H, W], in so many times the
    usual steps."""
    with subnetwork.edited(edits):
        return ascend(objective, preprocess, count, seed, longer * amounts.STEPS)


def _cuts(
    subnetwork: TargetSubnetwork, preprocess: Preprocess, pictures: list[Tensor], node: str, place: tuple[int, int]
) -> NDArray[np.uint8]:
    """Some times as many images [N, C, H, W] as a person is shown them, [times, N, SIZE, SIZE, 3], cut to what a
    place in a map sees."""
    box = receptive_field(subnetwork.graph, node, *place)
    values = torch.stack(pictures).permute(0, 1, 3, 4, 2).numpy()
    return np.stack([[_cut(shown(preprocess, picture), box) for picture in some] for some in values])


def _cut(picture: NDArray[np.uint8], box: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    height, width, _ = picture.shape
    top, left, bottom, right = box or (0, 0, height, width)
    part = picture[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    resample = Image.Resampling.NEAREST if max(part.shape[:2]) <= SIZE // 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(part).resize((SIZE, SIZE), resample))


def _position(target: Target) -> tuple[int, int]:
    """Return the feature's position, or the middle of its map."""
    return target.at if isinstance(target.at, tuple) else middle(target.step.positions)


def of_feature(subnetwork: TargetSubnetwork) -> Objective:
    """The feature of each image."""
    strong = _excited(subnetwork, subnetwork.target.step.name, _position(subnetwork.target), subnetwork.full_maps)
    return lambda images: strong(images).mean(1)


def of_channels(subnetwork: TargetSubnetwork, node: str, channels: Sequence[int]) -> Objective:
    """Return the objective of one channel of a step for each image."""

    def maps(images: Tensor) -> Tensor:
        return as_maps(subnetwork.differentiable_values(images, {node})[node], subnetwork.graph.steps[node])

    strong = _excited(subnetwork, node, middle(subnetwork.graph.steps[node].positions), maps)
    return lambda images: strong(images)[torch.arange(len(channels)), list(channels)]


def _excited(
    subnetwork: TargetSubnetwork, node: str, place: tuple[int, int], maps: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """A place in a step's maps [N, C] of images: from the part of them that it sees, where that comes to the same."""

    def whole(images: Tensor) -> Tensor:
        return maps(images.to(subnetwork.device))[..., place[0], place[1]].cpu()

    crop = part(subnetwork.graph, node, place)
    if crop is None:
        return whole
    (top, left, bottom, right), (row, column) = crop

    def seen(images: Tensor) -> Tensor:
        return maps(images[..., top:bottom, left:right].to(subnetwork.device))[..., row, column].cpu()

    # Once, in the network: circuits of it are followed in the same way.
    return seen if subnetwork.memo.once(("part", node, place), lambda: same(seen, whole, subnetwork)) else whole


def same(seen: Callable[[Tensor], Tensor], whole: Callable[[Tensor], Tensor], subnetwork: TargetSubnetwork) -> bool:
    """Return whether a network gives the same for a part of an image as for the whole: not where borders wrap
    around, nor where the size of maps is written into the network."""
    step = subnetwork.graph.steps[subnetwork.graph.image]
    images = torch.randn(1, *step.shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            one, other = seen(images), whole(images)
    except (RuntimeError, IndexError, ValueError):
        return False
    return bool(torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max())))


def _batches(channels: Sequence[Channel]) -> Iterator[tuple[int, list[int]]]:
    """The channels of a layer, a few at a time, by the layer's number."""
    for layer, members in groupby(channels, key=itemgetter(0)):
        numbers = [channel for _, channel in members]
        for start in range(0, len(numbers), BATCH):
            yield layer, numbers[start : start + BATCH]
