"""Exemplars: the part of an image that excites a channel most in the whole network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.reference_responses import strongest
from circuitlang.engine.graph.receptive_field import receptive_field
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.results.types import Circuit

# Side of an exemplar in pixels; smaller receptive fields are enlarged, larger ones reduced to it.
SIZE = 64


def collect(
    subnetwork: TargetSubnetwork, images: ImageSet, circuit: Circuit
) -> dict[tuple[int, int], NDArray[np.uint8]]:
    """Return the receptive field of the strongest response of each channel with an effective kernel, uint8 [SIZE, SIZE,
    3].

    Keys are the layer's number in the circuit and the channel. Parts beyond the image's border are grey.
    """
    best = strongest(subnetwork, images, "exemplars")
    crops: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for number, (layer, kernels) in enumerate(zip(subnetwork.layers, circuit.kernels, strict=True)):
        seen = best[layer.path]
        for channel in np.unique(kernels.target[kernels.effective]).tolist():
            # In the target's own layer only its rows were computed.
            rows = subnetwork.rows(layer)
            place = seen[channel if rows is None else rows.tolist().index(channel)]
            image, row, column = place.tolist()
            box = receptive_field(subnetwork.graph, subnetwork.nodes[layer.path], row, column)
            crops[number, channel] = crop(images.rgb(image), box)
    return crops


def crop(picture: NDArray[np.uint8], box: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    """Return a box of an image, or all of it, as a square of SIZE pixels."""
    height, width, _ = picture.shape
    top, left, bottom, right = box or (0, 0, height, width)
    # A box beyond the image on both sides shows the image; one beyond it on one side, grey there.
    top, bottom = (0, height) if bottom - top >= height else (top, bottom)
    left, right = (0, width) if right - left >= width else (left, right)
    canvas = Image.new("RGB", (right - left, bottom - top), (128, 128, 128))
    canvas.paste(Image.fromarray(picture), (-left, -top))
    side = max(canvas.size)
    resample = Image.Resampling.NEAREST if side <= SIZE else Image.Resampling.LANCZOS
    return np.asarray(canvas.resize((SIZE, SIZE), resample), dtype=np.uint8).copy()
