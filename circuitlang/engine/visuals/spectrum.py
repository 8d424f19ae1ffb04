"""Images as spectra: what gradient ascent changes, and the random transforms that an image must withstand.

Amplitudes fall with frequency, and colours are those of natural images decorrelated, brightness and two opponent
colours, as Olah, Mordvintsev and Schubert (Feature Visualization, Distill, 2017) describe it. Where a network does not
take three channels, each has a spectrum of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]

# The largest logit of a colour: 0.04 and 0.96 of full brightness.
_CONTRAST = 3.2
# Brightness, red against blue, green against both, by how much of each natural images have.
_COLOURS = ((0.58, 0.58, 0.58), (0.25, 0.0, -0.25), (0.08, -0.16, 0.08))
# The power of the frequency by which amplitudes fall: in natural images 1, but ascent prefers fine patterns.
_FALL = 1.25
# The largest rotation in degrees, change of size, and shift as a share of the side.
_ROTATED, _SCALED, _SHIFTED = 8, 0.1, 1 / 16


def random_spectra(count: int, channels: int, size: Size, generator: torch.Generator) -> Tensor:
    """Return spectra of noise of low contrast, [count, channels, h, w / 2 + 1, 2]."""
    return 0.05 * torch.randn(count, channels, size[0], size[1] // 2 + 1, 2, generator=generator)


def as_images(spectrum: Tensor, size: Size) -> Tensor:
    """Return spectra [N, C, h, w / 2 + 1, 2] of brightness and opponent colours, or of channels, as images [N, C, h, w]
    in 0..1."""
    height, width = size
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    amplitude = frequency.clamp_min(1 / max(size)) ** -_FALL
    planes = torch.fft.irfft2(torch.view_as_complex(spectrum) * amplitude, s=size, norm="ortho")
    mixed = torch.tensor(_COLOURS) if planes.shape[1] == 3 else _COLOURS[0][0] * torch.eye(planes.shape[1])
    colours = torch.einsum("nchw,ck->nkhw", planes, mixed)
    # A unit of an early layer wants ever more contrast, and would end in black and white.
    return torch.sigmoid(colours * (_CONTRAST / colours.abs().amax((1, 2, 3), keepdim=True).clamp_min(_CONTRAST)))


def transformed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images [N, C, h, w] rotated, scaled and shifted at random, all in the same way; borders are mirrored."""
    height, width = images.shape[2:]
    turn, size, down, right = (2 * torch.rand(4, generator=generator) - 1).tolist()
    turn, size = math.radians(_ROTATED) * turn, 1 + _SCALED * size
    cosine, sine = size * math.cos(turn), size * math.sin(turn)
    # In coordinates from -1 to 1 along either side.
    matrix = torch.tensor(
        [
            [cosine, -sine * height / width, 2 * _SHIFTED * right],
            [sine * width / height, cosine, 2 * _SHIFTED * down],
        ]
    )
    grid = functional.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
