"""A pen with an unsteady hand: shapes in unit coordinates, drawn onto an image with PIL.

The unit square reaches from -1 to 1 on both axes, y pointing down. Figures (see `animals` and `things`) say
what to draw in it; the pen adds where, how large, how tilted, in which colours, and the wobble of a hand.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return the RGB colour of a hue, saturation and value, each in 0..1 (the hue wraps around)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass(frozen=True)
class Palette:
    """The colours of one image. They are drawn without looking at what the image shows."""

    ink: Colour
    main: Colour
    second: Colour
    accent: Colour
    pale: Colour

    @staticmethod
    def pick(rng: np.random.Generator) -> Palette:
        """Five colours around a random hue, the ink dark and the pale one nearly white."""
        hue = rng.uniform()
        return Palette(
            ink=hsv(rng.uniform(), rng.uniform(0, 0.6), rng.uniform(0.05, 0.25)),
            main=hsv(hue, rng.uniform(0.15, 0.8), rng.uniform(0.6, 1)),
            second=hsv(hue + rng.uniform(-0.25, 0.25), rng.uniform(0.2, 0.8), rng.uniform(0.4, 0.8)),
            accent=hsv(hue + rng.uniform(0.3, 0.7), rng.uniform(0.5, 0.9), rng.uniform(0.7, 1)),
            pale=hsv(rng.uniform(), rng.uniform(0, 0.15), rng.uniform(0.92, 1)),
        )


@dataclass(frozen=True)
class Pose:
    """The place of the unit square, in pixels: centre, half width (negative: mirrored), half height; tilt."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def place(self, point: Point) -> Point:
        """Return the image coordinates, in pixels, of a point of the unit square."""
        across, down = point[0] * self.width, point[1] * self.height
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + across * cos - down * sin, self.y + across * sin + down * cos


@dataclass(frozen=True)
class Pen:
    """Draws shapes given in unit coordinates; `line` is the width of an outline in the same unit."""

    sheet: ImageDraw.ImageDraw
    pose: Pose
    colours: Palette
    rng: np.random.Generator
    line: float = 0.05
    wobble: float = 0.012

    def at(self, x: float, y: float, scale: float) -> Pen:
        """Return a pen for a smaller figure within this one, its outlines as thick as here."""
        x, y = self.pose.place((x, y))
        pose = replace(self.pose, x=x, y=y, width=self.pose.width * scale, height=self.pose.height * scale)
        return replace(self, pose=pose, line=self.line / scale)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.uniform() < probability)

    def vary(self, low: float, high: float) -> float:
        """Draw a number from low to high."""
        return float(self.rng.uniform(low, high))

    def oval(self, x: float, y: float, wide: float, high: float, fill: Colour | None, tilt: float = 0.0) -> None:
        """Draw an ellipse of half axes `wide` and `high`, tilted by `tilt` radians, filled and outlined."""
        cos, sin = math.cos(tilt), math.sin(tilt)
        turns = [2 * math.pi * step / 28 for step in range(28)]
        rim = [(wide * math.cos(turn), high * math.sin(turn)) for turn in turns]
        self._shape([(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in rim], fill)

    def dot(self, x: float, y: float, radius: float, fill: Colour | None = None) -> None:
        """Draw a small disc without an outline, of ink unless a colour is given."""
        turns = [2 * math.pi * step / 14 for step in range(14)]
        rim = [self.pose.place((x + radius * math.cos(turn), y + radius * math.sin(turn))) for turn in turns]
        self.sheet.polygon(rim, fill=fill or self.colours.ink)

    def polygon(self, points: Sequence[Point], fill: Colour | None) -> None:
        """Straight sides between the points, filled and outlined."""
        jitter = self.rng.normal(0, self.wobble, (len(points), 2))
        corners = [(x + float(dx), y + float(dy)) for (x, y), (dx, dy) in zip(points, jitter, strict=True)]
        self._shape(corners, fill, steady=True)

    def blob(self, points: Sequence[Point], fill: Colour | None) -> None:
        """Draw a smooth closed curve through the points, filled and outlined."""
        self._shape(_smooth([points[-1], *points, points[0], points[1]]), fill)

    def stroke(self, points: Sequence[Point], width: float | None = None, colour: Colour | None = None) -> None:
        """Draw a smooth open curve through the points, round at its ends; by default an ink outline."""
        path = _smooth([points[0], *points, points[-1]]) if len(points) > 2 else list(points)
        self._trace(self._unsteady(path), width or self.line, colour or self.colours.ink)

    def limb(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draw a smooth band of the given width with an outline: a leg, a tail, a handle."""
        path = self._unsteady(_smooth([points[0], *points, points[-1]]) if len(points) > 2 else list(points))
        self._trace(path, width + 2 * self.line, self.colours.ink)
        self._trace(path, width, fill)

    def _shape(self, rim: list[Point], fill: Colour | None, *, steady: bool = False) -> None:
        path = rim if steady else self._unsteady(rim)
        if fill is not None:
            self.sheet.polygon([self.pose.place(point) for point in path], fill=fill)
        self._trace([*path, path[0]], self.line, self.colours.ink)

    def _unsteady(self, path: list[Point]) -> list[Point]:
        """Shift a path by two slow waves; both return to their start, so that closed curves stay closed."""
        phase = self.rng.uniform(0, 2 * math.pi, 4)
        size = self.rng.normal(0, self.wobble, 4)
        turns = [2 * math.pi * step / len(path) for step in range(len(path))]
        return [
            (
                x + float(size[0] * math.sin(2 * turn + phase[0]) + size[1] * math.sin(3 * turn + phase[1])),
                y + float(size[2] * math.sin(2 * turn + phase[2]) + size[3] * math.sin(3 * turn + phase[3])),
            )
            for (x, y), turn in zip(path, turns, strict=True)
        ]

    def _trace(self, path: Sequence[Point], width: float, colour: Colour) -> None:
        thick = max(2.0, width * abs(self.pose.height))
        placed = [self.pose.place(point) for point in path]
        self.sheet.line(placed, fill=colour, width=round(thick), joint="curve")
        for x, y in (placed[0], placed[-1]):
            self.sheet.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=colour)


def _smooth(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """Return a Catmull-Rom curve from the second to the last but one point (the outer two only steer it)."""
    curve: list[Point] = []
    for before, start, end, after in zip(points, points[1:], points[2:], points[3:], strict=False):
        for step in range(steps):
            curve.append(_between(before, start, end, after, step / steps))
    return [*curve, points[-2]]


def _between(before: Point, start: Point, end: Point, after: Point, t: float) -> Point:
    def along(p0: float, p1: float, p2: float, p3: float) -> float:
        bend = (2 * p0 - 5 * p1 + 4 * p2 - p3) * t + (3 * p1 - p0 - 3 * p2 + p3) * t * t
        return p1 + 0.5 * t * ((p2 - p0) + bend)

    return along(before[0], start[0], end[0], after[0]), along(before[1], start[1], end[1], after[1])
