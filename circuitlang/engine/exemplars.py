"""What each channel of a circuit looks for: the part of a picture that excites it most in the whole network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from circuitlang.engine.graph import Layer
from circuitlang.engine.images import Pictures
from circuitlang.engine.intervene import Section
from circuitlang.engine.result import Circuit

# Side of an exemplar in pixels; smaller receptive fields are enlarged, larger ones reduced to it.
SIZE = 64


def collect(section: Section, images: Pictures, circuit: Circuit) -> dict[tuple[int, int], NDArray[np.uint8]]:
    """Of each channel with an effective kernel, its strongest response's receptive field, uint8 [SIZE, SIZE, 3].

    Keys are the layer's number in the circuit and the channel. Parts beyond the picture's border are grey.
    """
    best: dict[str, tuple[Tensor, Tensor]] = {}
    widths: dict[str, int] = {}
    start = 0

    def watcher(layer: Layer, output: Tensor) -> None:
        """Keep the highest value of each channel, and where it was: image, row and column as one number."""
        count, channels, height, width = output.shape
        flat = output.transpose(0, 1).reshape(channels, -1).cpu()
        value, index = flat.max(1)
        index = index + start * height * width
        widths[layer.path] = width
        if layer.path in best:
            held, place = best[layer.path]
            value, index = torch.maximum(held, value), torch.where(value > held, index, place)
        best[layer.path] = value, index
        heights[layer.path] = height

    heights: dict[str, int] = {}
    for batch in images.batches("exemplars"):
        section.watch(batch, watcher)
        start += len(batch)
    found: dict[tuple[int, int], NDArray[np.uint8]] = {}
    sliced = section.target.step.layer
    for number, (layer, kernels) in enumerate(zip(section.layers, circuit.kernels, strict=True)):
        _, index = best[layer.path]
        height, width = heights[layer.path], widths[layer.path]
        for channel in np.unique(kernels.target[kernels.effective]).tolist():
            place = int(index[0 if layer == sliced else channel])
            image, row, column = place // (height * width), place // width % height, place % width
            box = section.graph.receptive_field(layer.node, row, column)
            found[number, channel] = _crop(images.picture(image), box)
    return found


def _crop(picture: NDArray[np.uint8], box: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    height, width, _ = picture.shape
    top, left, bottom, right = box or (0, 0, height, width)
    # A box beyond the picture on both sides shows the picture; one beyond it on one side, grey there.
    top, bottom = (0, height) if bottom - top >= height else (top, bottom)
    left, right = (0, width) if right - left >= width else (left, right)
    canvas = Image.new("RGB", (right - left, bottom - top), (128, 128, 128))
    canvas.paste(Image.fromarray(picture), (-left, -top))
    side = max(canvas.size)
    resample = Image.Resampling.NEAREST if side <= SIZE else Image.Resampling.LANCZOS
    return np.asarray(canvas.resize((SIZE, SIZE), resample), dtype=np.uint8).copy()
