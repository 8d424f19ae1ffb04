"""Pictures that excite a unit, made by gradient ascent through the network and through the circuit alone.

Feature visualisation as Olah, Mordvintsev and Schubert (Distill, 2017) describe it: the picture is parametrised by its
spectrum, amplitudes falling with frequency, and by brightness and two opponent colours, and shifted at random in each
step, so that it stays a picture rather than noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from circuitlang.engine.contracts import Edits, Track
from circuitlang.engine.images import Preprocess
from circuitlang.engine.intervene import Section
from circuitlang.engine.result import Circuit, Visions
from circuitlang.engine.scenes import as_maps

STEPS = 32
RATE = 0.045  # of Adam, in spectrum coefficients
SIZE = 64  # side of the finished pictures
# Channels whose pictures are made at once: as many as fit in the memory of a small machine.
BATCH = 16
# The largest logit of a colour: 0.04 and 0.96 of full brightness.
_CONTRAST = 3.2
# Brightness, red against blue, green against both, by how much of each natural pictures have.
_COLOURS = ((0.58, 0.58, 0.58), (0.25, 0.0, -0.25), (0.08, -0.16, 0.08))

# Pictures [N, 3, H, W], normalised → how strong each excites what it is made for [N].
Objective = Callable[[Tensor], Tensor]


def visualise(
    section: Section, edits: Edits, circuit: Circuit, preprocess: Preprocess, seed: int, channels: bool, track: Track
) -> Visions:
    """Pictures for the feature, and, if asked for, for every channel with an effective kernel.

    A unit is excited at one position, the middle of its map where the target names none, and the part of the picture
    that this position sees is shown. The same `seed` makes the same pictures.
    """
    at, step = section.target.at, section.target.step
    pictures = [_in_network(section, preprocess, seed), _made(section, edits, preprocess, seed, _feature(section), 1)]
    feature = _cuts(section, pictures, step.name, at if isinstance(at, tuple) else None)
    found: dict[tuple[int, int], NDArray[np.uint8]] = {}
    batches = list(_batches(circuit)) if channels else []
    for number, some in track(iter(batches), "visualising channels", len(batches)):
        node = section.nodes[section.layers[number].path]
        objective = _channels(section, node, some)
        pictures = [_made(section, each, preprocess, seed, objective, len(some)) for each in (None, edits)]
        both = _cuts(section, pictures, node)
        found |= {(number, channel): both[:, place] for place, channel in enumerate(some)}
    return Visions(feature[:, 0], found)


def ascend(objective: Objective, preprocess: Preprocess, count: int, seed: int, steps: int = STEPS) -> Tensor:
    """Pictures [count, 3, size, size] in 0..1 that excite an objective; with no steps, those it begins with."""
    size = preprocess.crop
    mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
    generator = torch.Generator().manual_seed(seed)
    # The same beginning for each: what differs between pictures is the units' doing.
    start = torch.randn(1, 3, size, size // 2 + 1, 2, generator=generator)
    spectrum = (0.02 * start).repeat(count, 1, 1, 1, 1).requires_grad_()
    optimiser = torch.optim.Adam([spectrum], lr=RATE)
    reach = max(1, size // 16)
    with torch.enable_grad():
        for _ in range(steps):
            down, right = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            shifted = _picture(spectrum, size).roll((down, right), (2, 3))
            optimiser.zero_grad()
            (-objective((shifted - mean) / std).sum()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return _picture(spectrum, size).detach()


def _picture(spectrum: Tensor, size: int) -> Tensor:
    """Spectra [N, 3, size, size / 2 + 1, 2] of brightness and opponent colours as pictures in 0..1."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    amplitude = 1 / frequency.clamp_min(1 / size)
    planes = torch.fft.irfft2(torch.view_as_complex(spectrum) * amplitude, s=(size, size), norm="ortho")
    colours = torch.einsum("nchw,ck->nkhw", planes, torch.tensor(_COLOURS))
    # A unit of an early layer wants ever more contrast, and would end in black and white.
    return torch.sigmoid(colours * (_CONTRAST / colours.abs().amax((1, 2, 3), keepdim=True).clamp_min(_CONTRAST)))


def _in_network(section: Section, preprocess: Preprocess, seed: int) -> Tensor:
    """What excites the feature in the network, made once for all circuits of it."""
    key = "visualised", preprocess, seed, STEPS
    return section.once(key, lambda: _made(section, None, preprocess, seed, _feature(section), 1))


def _made(
    section: Section, edits: Edits | None, preprocess: Preprocess, seed: int, objective: Objective, count: int
) -> Tensor:
    """What excites an objective in the network as it is edited [count, 3, H, W]."""
    with section.edited(edits):
        return ascend(objective, preprocess, count, seed, STEPS)


def _cuts(section: Section, pictures: list[Tensor], node: str, at: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Some times as many pictures [N, 3, H, W] as [times, N, SIZE, SIZE, 3], cut to what a position in a step's map
    sees."""
    positions = section.graph.steps[node].positions
    row, column = at or (positions[0] // 2, positions[1] // 2) if len(positions) == 2 else (0, 0)
    box = section.graph.receptive_field(node, row, column)
    pixels = (torch.stack(pictures).permute(0, 1, 3, 4, 2) * 255).round().to(torch.uint8).numpy()
    return np.stack([[_cut(picture, box) for picture in some] for some in pixels])


def _cut(picture: NDArray[np.uint8], box: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    height, width, _ = picture.shape
    top, left, bottom, right = box or (0, 0, height, width)
    part = picture[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    resample = Image.Resampling.NEAREST if max(part.shape[:2]) <= SIZE // 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(part).resize((SIZE, SIZE), resample))


def _feature(section: Section) -> Objective:
    return lambda images: _middle(section.maps(images.to(section.device))).mean(1).cpu()


def _channels(section: Section, node: str, channels: list[int]) -> Objective:
    """Of each picture another channel of a step."""

    def objective(images: Tensor) -> Tensor:
        value = section.differentiable_values(images.to(section.device), {node})[node]
        return _middle(as_maps(value, section.graph.steps[node])).cpu()[torch.arange(len(channels)), channels]

    return objective


def _middle(maps: Tensor) -> Tensor:
    """Maps [N, C, H, W] → [N, C]."""
    return maps[..., maps.shape[2] // 2, maps.shape[3] // 2]


def _batches(circuit: Circuit) -> Iterator[tuple[int, list[int]]]:
    """The channels with an effective kernel, layer by layer, a few at a time."""
    for number, kernels in enumerate(circuit.kernels):
        channels = np.unique(kernels.target[kernels.effective]).tolist()
        for start in range(0, len(channels), BATCH):
            yield number, channels[start : start + BATCH]
