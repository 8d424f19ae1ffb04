"""Responses of the network itself, stored for all circuits of a feature: the feature's responses, and where
every channel responds most. Of several features it is found in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuitlang.engine.attribution.multi_target import MultiTargetPass
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.response_keys import responses_key, strongest_key
from circuitlang.engine.images.image_set import ImageSet


def responses(subnetwork: TargetSubnetwork, images: ImageSet, label: str) -> Tensor:
    """The feature of every image, float64 [images, maps and positions]."""
    return _read_or_collected(subnetwork, images, label, responses_key(images))["responses"]


def strongest(subnetwork: TargetSubnetwork, images: ImageSet, label: str) -> Mapping[str, Tensor]:
    """Return where the channels of each layer respond most: image, row and column, int64 [out, 3]; for the target's
    layer as many rows as are computed."""
    return _read_or_collected(subnetwork, images, label, strongest_key(images))


def there(subnetwork: TargetSubnetwork, images: ImageSet, look: bool = False) -> bool:
    """Return whether responses were stored before; `look`, also where channels respond most."""
    return subnetwork.memo.has(responses_key(images)) and (not look or subnetwork.memo.has(strongest_key(images)))


def size(subnetwork: TargetSubnetwork, images: ImageSet) -> int:
    """The bytes that responses take."""
    target = subnetwork.target
    maps = 1 if target.coefficients else len(target.units)
    positions = math.prod(target.step.positions) if target.at is None else 1
    return torch.float64.itemsize * len(images) * maps * positions


@torch.no_grad()
def collect(subnetworks: Collection[TargetSubnetwork], images: ImageSet, label: str, look: bool = False) -> None:
    """Find it for some subnetworks of one network, and keep it; `look`, also where channels respond most."""
    heads, most = MultiTargetPass(subnetworks), _Most()
    responses: dict[TargetSubnetwork, list[Tensor]] = {subnetwork: [] for subnetwork in subnetworks}
    together = f"{label}, for {len(responses)} features" if len(responses) > 1 else label
    for batch in images.batches(together):
        for subnetwork, maps in heads.features(batch, most.see if look else None).items():
            responses[subnetwork].append(maps.flatten(1).double().cpu())
        most.start += len(batch)
    for subnetwork, parts in responses.items():
        subnetwork.memo.store(responses_key(images), {"responses": torch.cat(parts)})
        if look:
            subnetwork.memo.store(strongest_key(images), most.of(subnetwork))


def _read_or_collected(subnetwork: TargetSubnetwork, images: ImageSet, label: str, what: str) -> Mapping[str, Tensor]:
    entry = subnetwork.memo.read(what)
    if entry is None:
        collect([subnetwork], images, label, look=what == strongest_key(images))
        entry = subnetwork.memo.read(what)
    assert entry is not None
    return entry


class _Most:
    """The strongest response of every channel, updated batch by batch."""

    def __init__(self) -> None:
        # The number of images before the current ones.
        self.start = 0
        # Keys are steps, with the subnetwork where a step has only the rows of a target.
        self._best: dict[tuple[TargetSubnetwork | None, str], _Best] = {}

    def see(self, subnetwork: TargetSubnetwork, name: str, value: Any) -> None:
        step = subnetwork.graph.steps.get(name)
        if step is None or step.layer is None:
            return
        key = _owner(subnetwork, name), name
        maps = value.movedim(step.axis, 1)
        height, width = maps.shape[2:] if maps.dim() == 4 else (maps[0, 0].numel(), 1)
        highest, place = maps.transpose(0, 1).reshape(maps.shape[1], -1).cpu().max(1)
        place = place + self.start * height * width
        if key in self._best:
            held = self._best[key]
            highest, place = torch.maximum(held.value, highest), torch.where(highest > held.value, place, held.place)
        self._best[key] = _Best(highest, place, height, width)

    def of(self, subnetwork: TargetSubnetwork) -> dict[str, Tensor]:
        """Return them by layer; for a layer that is used again, its last use in the subnetwork counts."""
        return {path: self._best[_owner(subnetwork, name), name].places() for path, name in subnetwork.nodes.items()}


def _owner(subnetwork: TargetSubnetwork, name: str) -> TargetSubnetwork | None:
    return subnetwork if name in subnetwork.target_specific_nodes else None


@dataclass(frozen=True)
class _Best:
    """The highest value so far of each channel of a layer, and its place: image, row and column as one number."""

    value: Tensor
    place: Tensor
    height: int
    width: int

    def places(self) -> Tensor:
        image, position = self.place // (self.height * self.width), self.place % (self.height * self.width)
        return torch.stack([image, position // self.width, position % self.width], 1)
