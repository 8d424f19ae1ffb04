"""Procedural 64x64 doodles of 14 classes: `python -m circuitlang.bundled.doodles OUT --per-class 12`.

Colours, backgrounds and clutter are drawn without looking at the class, so that only shapes and parts tell
one class from another. The same label and seed give the same pixels.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from circuitlang.bundled import animals, things
from circuitlang.bundled.pen import Colour, Palette, Pen, Pose, hsv

SIZE = 64
_SHEET = 4 * SIZE  # drawn four times as large, for smooth edges

FIGURES: dict[str, Callable[[Pen], None]] = {
    "birds": animals.bird,
    "boats": things.boat,
    "butterflies": animals.butterfly,
    "cars": things.car,
    "cats": animals.cat,
    "clocks": things.clock,
    "cups": things.cup,
    "dogs": animals.dog,
    "faces": animals.face,
    "fish": animals.fish,
    "flowers": things.flower,
    "houses": things.house,
    "planes": things.plane,
    "trees": things.tree,
}
CLASSES: tuple[str, ...] = tuple(FIGURES)


def draw(label: str, seed: int) -> Image.Image:
    """Draw one 64x64 RGB image of the class; KeyError if there is no such class."""
    figure = FIGURES[label]
    rng = np.random.default_rng([zlib.crc32(label.encode()), seed])
    sheet = _backdrop(rng)
    pencil = ImageDraw.Draw(sheet)
    for _ in range(int(rng.integers(0, 6))):
        _scrap(pencil, rng, rng.uniform(0.03, 0.09))
    figure(Pen(pencil, _pose(rng), Palette.pick(rng), rng, line=float(rng.uniform(0.03, 0.06))))
    for _ in range(int(rng.integers(0, 3))):
        _scrap(pencil, rng, rng.uniform(0.02, 0.05))
    if rng.uniform() < 0.35:
        _stray_line(pencil, rng)
    return sheet.resize((SIZE, SIZE), Image.Resampling.BOX)


def _pose(rng: np.random.Generator) -> Pose:
    """Draw a place where the figure stays (almost) on the image, mirrored or not, tilted by some degrees."""
    half = rng.uniform(0.62, 0.95) * _SHEET / 2
    slack = _SHEET / 2 - 0.9 * half
    x, y = _SHEET / 2 + rng.uniform(-slack, slack, 2)
    width = half * rng.uniform(0.88, 1.1) * rng.choice([-1, 1])
    return Pose(float(x), float(y), float(width), float(half), math.radians(rng.normal(0, 9)))


def _any_colour(rng: np.random.Generator) -> Colour:
    return hsv(rng.uniform(), rng.uniform(0.1, 0.7), rng.uniform(0.4, 1))


def _paper(rng: np.random.Generator) -> Colour:
    """Draw a background colour; light ones are more frequent, as on paper."""
    return hsv(rng.uniform(), rng.uniform(0.0, 0.4), rng.uniform(0.55, 1) if rng.uniform() < 0.85 else 0.35)


def _backdrop(rng: np.random.Generator) -> Image.Image:
    kind = rng.choice(["plain", "gradient", "stripes", "dots", "mottled", "landscape"])
    sheet = Image.new("RGB", (_SHEET, _SHEET), _paper(rng))
    pencil = ImageDraw.Draw(sheet)
    if kind == "gradient":
        return _gradient(rng)
    if kind == "mottled":
        return _mottled(rng)
    if kind == "stripes":
        _stripes(pencil, rng)
    elif kind == "dots":
        _dots(pencil, rng)
    elif kind == "landscape":
        horizon = rng.uniform(0.45, 0.8) * _SHEET
        hills = [(x * _SHEET / 8, horizon + rng.uniform(-0.04, 0.04) * _SHEET) for x in range(9)]
        pencil.polygon([(0, _SHEET), *hills, (_SHEET, _SHEET)], fill=_paper(rng))
    return sheet


def _gradient(rng: np.random.Generator) -> Image.Image:
    start, end = np.array(_paper(rng), dtype=float), np.array(_paper(rng), dtype=float)
    turn = rng.uniform(0, 2 * math.pi)
    grid = np.linspace(-0.5, 0.5, SIZE)
    along = 0.5 + 0.7 * (math.cos(turn) * grid[None, :] + math.sin(turn) * grid[:, None])
    mixed = start + np.clip(along, 0, 1)[:, :, None] * (end - start)
    return Image.fromarray(mixed.round().astype(np.uint8)).resize((_SHEET, _SHEET), Image.Resampling.BILINEAR)


def _mottled(rng: np.random.Generator) -> Image.Image:
    base = np.array(_paper(rng), dtype=float)
    patches = base + rng.normal(0, rng.uniform(6, 18), (12, 12, 1)) + rng.normal(0, 4, (12, 12, 3))
    image = Image.fromarray(np.clip(patches, 0, 255).astype(np.uint8))
    return image.resize((_SHEET, _SHEET), Image.Resampling.BICUBIC)


def _stripes(pencil: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    colour, gap, turn = _paper(rng), rng.uniform(0.1, 0.25) * _SHEET, rng.uniform(0, math.pi)
    across, along = (math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))
    for step in range(-12, 13):
        x, y = _SHEET / 2 + across[0] * step * gap, _SHEET / 2 + across[1] * step * gap
        ends = [(x + sign * along[0] * _SHEET, y + sign * along[1] * _SHEET) for sign in (-1, 1)]
        pencil.line(ends, fill=colour, width=round(gap / 2))


def _dots(pencil: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    colour, gap = _paper(rng), rng.uniform(0.12, 0.25) * _SHEET
    radius = gap * rng.uniform(0.15, 0.35)
    for row in range(10):
        for column in range(10):
            x, y = (column + 0.5 * (row % 2)) * gap, row * gap
            pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _scrap(pencil: ImageDraw.ImageDraw, rng: np.random.Generator, size: float) -> None:
    """Draw a small bright shape somewhere: a disc, a ring, a triangle or a bar."""
    x, y = rng.uniform(0, _SHEET, 2)
    radius, colour, turn = size * _SHEET, _any_colour(rng), rng.uniform(0, 2 * math.pi)
    corners = [(x + radius * math.cos(turn + step), y + radius * math.sin(turn + step)) for step in (0, 2.1, 4.2)]
    kind = rng.integers(4)
    if kind == 0:
        pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif kind == 1:
        pencil.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=5)
    elif kind == 2:
        pencil.polygon(corners, fill=colour)
    else:
        pencil.line(corners[:2], fill=colour, width=round(radius / 2) + 2)


def _stray_line(pencil: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Draw a thin line from edge to edge, over the figure."""
    start, end = rng.uniform(0, _SHEET, 2)
    ends = [(0.0, float(start)), (float(_SHEET), float(end))]
    if rng.uniform() < 0.5:
        ends = [(y, x) for x, y in ends]
    pencil.line(ends, fill=_any_colour(rng), width=5)


def write(folder: Path, label: str, count: int, first_seed: int) -> None:
    """Write `count` images of a class as `folder/label/label_000.png`, ..., from consecutive seeds."""
    (folder / label).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        path = folder / label / f"{label}_{index:03d}.png"
        draw(label, first_seed + index).save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write images of every class, or of the named ones, into class folders."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--per-class", type=int, default=12, help="images of each class")
    parser.add_argument("--seed", type=int, default=1_000_000, help="seed of each class's first image")
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=CLASSES, help="only these classes")
    options = parser.parse_args(arguments)
    for label in options.classes:
        write(options.out, label, options.per_class, options.seed)


if __name__ == "__main__":
    main()
