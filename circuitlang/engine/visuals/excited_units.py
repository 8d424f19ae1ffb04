"""The units that images are made to excite: the part of the image that is made, and their responses to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork, as_maps
from circuitlang.engine.graph.receptive_field import Box, receptive_field
from circuitlang.engine.visuals import amounts
from circuitlang.engine.visuals.spectrum import Size
from circuitlang.engine.visuals.visualised_part import middle, part, reducible

Maps = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ExcitedUnits:
    """Units of a network at one position.

    Attributes:
        size: Height and width of the images that are made.
        responses: Responses [N, units] to images [N, C, height, width], normalised.
        seen: The part of such an image that the position sees; None stands for all of it.
    """

    size: Size
    responses: Maps
    seen: Box | None


def of_feature(subnetwork: TargetSubnetwork) -> ExcitedUnits:
    """Return the feature as one unit, at its position or the middle of its map."""
    target = subnetwork.target
    units = _units(subnetwork, target.step.name, target.at, subnetwork.full_maps)
    return ExcitedUnits(units.size, lambda images: units.responses(images).mean(1, keepdim=True), units.seen)


def of_channels(subnetwork: TargetSubnetwork, node: str, channels: Sequence[int]) -> ExcitedUnits:
    """Return channels of a step, at the middle of its map."""

    def maps(images: Tensor) -> Tensor:
        return as_maps(subnetwork.differentiable_values(images, {node})[node], subnetwork.graph.steps[node])

    units = _units(subnetwork, node, None, maps)
    return ExcitedUnits(units.size, lambda images: units.responses(images)[:, list(channels)], units.seen)


def _units(subnetwork: TargetSubnetwork, node: str, at: object, maps: Maps) -> ExcitedUnits:
    """Return the channels of a step at a position, or the middle of its map: through the part of the image that the
    position sees, or a smaller image, where these come to the same or serve as well."""
    graph = subnetwork.graph
    whole = graph.steps[graph.image].positions
    row, column = at if isinstance(at, tuple) else middle(graph.steps[node].positions)

    def of(size: Size, place: tuple[int, int] | None, seen: Box | None) -> ExcitedUnits:
        def responses(images: Tensor) -> Tensor:
            values = maps(images.to(subnetwork.device))
            down, right = place or middle(tuple(values.shape[2:]))
            return values[..., down, right].cpu()

        return ExcitedUnits(size, responses, seen)

    everything = of((whole[0], whole[1]), (row, column), receptive_field(graph, node, row, column))
    crop = part(graph, node, (row, column))
    units = everything
    if crop is not None:
        box, place = crop
        in_part = of((box[2] - box[0], box[3] - box[1]), place, _within(everything.seen, box))
        top, left, bottom, right = box

        def cut(images: Tensor) -> Tensor:
            return in_part.responses(images[..., top:bottom, left:right])

        # Once, in the network: circuits of it are followed in the same way.
        if subnetwork.memo.once(("part", node, row, column), lambda: same(cut, everything.responses, subnetwork)):
            units = in_part
    if not isinstance(at, tuple) and reducible(units.size):
        small = of((amounts.SIDE, amounts.SIDE), None, None)
        if subnetwork.memo.once(("small", node), lambda: _computes(small, subnetwork)):
            return small
    return units


def _within(seen: Box | None, box: Box) -> Box | None:
    """Return a part of the image in the coordinates of another part."""
    return seen and (seen[0] - box[0], seen[1] - box[1], seen[2] - box[0], seen[3] - box[1])


def _noise(size: tuple[int, ...], subnetwork: TargetSubnetwork) -> Tensor:
    channels = subnetwork.graph.steps[subnetwork.graph.image].shape[0]
    return torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))


def same(seen: Maps, whole: Maps, subnetwork: TargetSubnetwork) -> bool:
    """Return whether a network gives the same for a part of an image as for the whole: not where borders wrap
    around, nor where the size of maps is written into the network."""
    images = _noise(subnetwork.graph.steps[subnetwork.graph.image].positions, subnetwork)
    try:
        with torch.no_grad():
            one, other = seen(images), whole(images)
    except (RuntimeError, IndexError, ValueError):
        return False
    return bool(torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max())))


def _computes(units: ExcitedUnits, subnetwork: TargetSubnetwork) -> bool:
    """Return whether a network takes images of another size."""
    try:
        with torch.no_grad():
            return bool(units.responses(_noise(units.size, subnetwork)).isfinite().all())
    except (RuntimeError, IndexError, ValueError):
        return False
