"""Images → what each of them makes of the kernels: its scores as a vector, and where these lie to one another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circuitlang.engine.attribution.scorer import score_each
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import CRITERIA, Batches, Criterion

# The memory limit for the scores of all images, in bytes. Beyond it kernels share places, with random signs.
ROOM = 1 << 30
# Products of vectors are summed over so many places at a time.
_BLOCK = 1 << 16
# Directions in which the images vary by less than this share of the most are rounding.
_ROUNDING = 1e-10
# The criterion that tells images apart if the spec's criterion has no scores of single images.
OTHERWISE = Choice("actgrad")


def vectors_by(criterion: Choice) -> Choice:
    """The criterion that images are told apart by: the spec's own, or, where that isn't one of a single pass, the
    paper's."""
    return criterion if isinstance(CRITERIA.load(criterion.name), Criterion) else OTHERWISE


def vectors(subnetwork: TargetSubnetwork, sets: Sequence[Batches], criterion: Choice, seed: int) -> list[Tensor]:
    """Return points [images, r] for the images of each set, with the same angles as the vectors of their scores, each
    of length 1 and of the subnetwork's relevant kernels; of an image on which all scores are nil, a point of zeros.

    One pass over the images by a criterion of one pass. r is at most the number of images. Memory is that of the scores
    in single precision, but no more than `ROOM`: where kernels are too many, each is added with a random sign, drawn by
    the seed, to one of as many places as there is room for, which keeps angles to within the square root of 1 / places
    (Charikar et al. 2002; Weinberger et al. 2009).
    """
    number = sum(map(len, sets))
    relevant = subnetwork.relevant
    kernels = count(relevant)
    places = max(min(kernels, ROOM // (4 * max(number, 1))), 1)
    fold = _folding(kernels, places, seed)
    by_image = torch.zeros(number, places)
    row = 0
    for images in sets:
        for scores in score_each(Builder(subnetwork, images), criterion, seed, "scores of each image"):
            flat = torch.cat([scores[path][mask] for path, mask in relevant.items()])
            length = flat.norm()
            # Normalised before rounding to single precision, where small scores would be lost.
            unit = flat / length if length > 0 else flat
            by_image[row] = (
                unit if fold is None else torch.zeros(places).double().index_add_(0, fold[0], fold[1] * unit)
            )
            row += 1
    return list(torch.split(_points(by_image), [len(images) for images in sets]))


def _folding(kernels: int, places: int, seed: int) -> tuple[Tensor, Tensor] | None:
    """Return the index and sign of each kernel; None where each has an index of its own."""
    if places == kernels:
        return None
    generator = torch.Generator().manual_seed(seed)
    place = torch.randint(places, (kernels,), generator=generator)
    return place, torch.randint(2, (kernels,), generator=generator).double() * 2 - 1


def _points(vectors: Tensor) -> Tensor:
    """Points [images, r], float64, whose products are those of vectors [images, n]."""
    gram = torch.zeros(len(vectors), len(vectors)).double()
    for part in torch.split(vectors, _BLOCK, 1):
        wide = part.double()
        gram += wide @ wide.T
    values, directions = torch.linalg.eigh(gram)
    kept = values > _ROUNDING * values.amax().clamp_min(1e-300)
    # The most first, and of either sign of a direction the one in which its largest entry is positive.
    directions, values = directions[:, kept].flip(1), values[kept].flip(0)
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    points: Tensor = directions * largest.sign() * values.sqrt()
    return points
