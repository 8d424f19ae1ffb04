"""What each channel of a circuit looks for: the part of a picture that excites it most in the whole network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

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
    best = section.kept(strongest(images), lambda: _best(section, images))
    nodes = {step.layer.path: step.name for step in section.graph.ancestors(section.target.step.name) if step.layer}
    found: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for number, (layer, kernels) in enumerate(zip(section.layers, circuit.kernels, strict=True)):
        seen = best[layer.path]
        for channel in np.unique(kernels.target[kernels.effective]).tolist():
            # Of the target's own layer its rows were computed, not all.
            rows = section.rows(layer)
            place = seen[channel if rows is None else rows.tolist().index(channel)]
            image, row, column = place.tolist()
            box = section.graph.receptive_field(nodes[layer.path], row, column)
            found[number, channel] = _crop(images.picture(image), box)
    return found


def strongest(images: Pictures) -> str:
    """What is kept of a section."""
    return f"strongest responses, {images.digest}"


def _best(section: Section, images: Pictures) -> dict[str, Tensor]:
    """By layer, where its channels respond most in the network: image, row and column, int64 [out, 3]."""
    best: dict[str, _Best] = {}
    start = 0
    # Of a layer that is used again the last use counts.
    uses = [step for step in section.graph.ancestors(section.target.step.name) if step.layer]
    many = Counter(step.layer.path for step in uses if step.layer)
    calls: Counter[str] = Counter()

    def watcher(layer: Layer, _: Tensor, output: Tensor) -> None:
        calls[layer.path] += 1
        if calls[layer.path] % many[layer.path]:
            return
        channels, height, width = output.shape[1:]
        value, place = output.transpose(0, 1).reshape(channels, -1).cpu().max(1)
        place = place + start * height * width
        if layer.path in best:
            held = best[layer.path]
            value, place = torch.maximum(held.value, value), torch.where(value > held.value, place, held.place)
        best[layer.path] = _Best(value, place, height, width)

    for batch in images.batches("exemplars"):
        section.watch(batch, watcher)
        start += len(batch)
    return {path: each.places() for path, each in best.items()}


@dataclass(frozen=True)
class _Best:
    """Of each channel of a layer, its highest value so far and where: image, row and column as one number."""

    value: Tensor
    place: Tensor
    height: int
    width: int

    def places(self) -> Tensor:
        image, position = self.place // (self.height * self.width), self.place % (self.height * self.width)
        return torch.stack([image, position // self.width, position % self.width], 1)


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
