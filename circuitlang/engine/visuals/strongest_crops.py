"""The parts of images that excite a feature most, for a circuit that has no page."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.receptive_field import receptive_field
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.visuals.exemplars import crop

CROPS = 4


def collect(subnetwork: TargetSubnetwork, images: ImageSet, responses: torch.Tensor) -> NDArray[np.uint8]:
    """Return the receptive fields of the strongest responses in different images, uint8 [n, side, side, 3], the
    strongest first. `responses` are those of the network [images, positions].
    """
    positions = subnetwork.target.step.positions
    strength, place = responses.max(1)
    crops = []
    for image in torch.argsort(strength, descending=True, stable=True)[:CROPS].tolist():
        box = None
        if len(positions) == 2 and subnetwork.target.at is None:
            row, column = divmod(int(place[image]) % (positions[0] * positions[1]), positions[1])
            box = receptive_field(subnetwork.graph, subnetwork.target.step.name, row, column)
        crops.append(crop(images.rgb(image), box))
    return np.stack(crops) if crops else np.zeros((0, 1, 1, 3), np.uint8)
