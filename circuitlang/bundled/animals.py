"""Figures of animals. Dogs and cats share bodies, coats and colours, and differ by their parts alone."""

from __future__ import annotations

import math

from circuitlang.bundled.pen import Colour, Pen


def dog(pen: Pen) -> None:
    """Draw a dog from the side, sitting, or just its head: drooping ears, a long snout, often a tongue."""
    view = pen.vary(0, 1)
    if view < 0.45:
        _dog_walking(pen)
    elif view < 0.65:
        _sitting(pen, tail=[(0.4, 0.75), (0.72, 0.62), (0.78, 0.35)])
        _dog_head(pen.at(0, -0.38, 0.55))
    else:
        _dog_head(pen)


def cat(pen: Pen) -> None:
    """Draw a cat from the side, sitting, or just its head: pointed ears, whiskers, a flat face."""
    view = pen.vary(0, 1)
    if view < 0.45:
        _cat_walking(pen)
    elif view < 0.65:
        _sitting(pen, tail=[(0.3, 0.85), (0.8, 0.85), (0.75, 0.35), (0.9, 0.05)])
        _cat_head(pen.at(0, -0.35, 0.55))
    else:
        _cat_head(pen)


def _dog_walking(pen: Pen) -> None:
    coat, ears = pen.colours.main, pen.colours.second
    wag = pen.vary(-0.15, 0.15)
    pen.limb([(0.62, 0.0), (0.82, -0.2), (0.86 + wag, -0.5)], 0.1, coat)
    _legs(pen, 0.16)
    pen.blob([(-0.5, -0.15), (0.0, -0.1), (0.55, -0.15), (0.72, 0.1), (0.55, 0.36), (0, 0.38), (-0.48, 0.36)], coat)
    _markings(pen, 0.1, 0.1, 0.4, 0.18)
    snout = pen.vary(0.0, 0.08)
    pen.blob(
        [
            (-0.25, -0.3),
            (-0.4, -0.62),
            (-0.68, -0.55),
            (-0.95 - snout, -0.36),
            (-0.97 - snout, -0.2),
            (-0.7, -0.12),
            (-0.4, -0.02),
        ],
        coat,
    )
    pen.oval(-0.97 - snout, -0.36, 0.07, 0.06, pen.colours.ink)
    pen.stroke([(-0.92, -0.2), (-0.76, -0.2), (-0.66, -0.26)])
    _eye(pen, -0.6, -0.42, 0.055)
    droop = pen.vary(-0.06, 0.1)
    pen.blob([(-0.42, -0.6), (-0.24, -0.5), (-0.2, -0.15 + droop), (-0.32, 0.0 + droop), (-0.42, -0.2)], ears)
    if pen.chance(0.4):
        pen.limb([(-0.45, 0.03), (-0.3, 0.0), (-0.16, -0.1)], 0.06, pen.colours.accent)


def _cat_walking(pen: Pen) -> None:
    coat = pen.colours.main
    curl = pen.vary(-0.2, 0.2)
    pen.limb([(0.6, 0.1), (0.85, -0.05), (0.72, -0.4), (0.82 + curl, -0.75), (0.72 + curl, -0.9)], 0.09, coat)
    _legs(pen, 0.13)
    pen.blob(
        [
            (-0.5, -0.12),
            (-0.1, -0.12),
            (0.3, -0.18),
            (0.62, -0.1),
            (0.7, 0.2),
            (0.5, 0.36),
            (0, 0.32),
            (-0.45, 0.34),
        ],
        coat,
    )
    _markings(pen, 0.15, 0.08, 0.4, 0.16)
    _cat_head(pen.at(-0.52, -0.32, 0.46))


def _sitting(pen: Pen, tail: list[tuple[float, float]]) -> None:
    """Draw a body sitting up, seen from the front; the head comes on top."""
    coat = pen.colours.main
    pen.limb(tail, 0.1, coat)
    pen.blob([(-0.2, -0.15), (0.2, -0.15), (0.4, 0.4), (0.46, 0.85), (0, 0.92), (-0.46, 0.85), (-0.4, 0.4)], coat)
    if pen.chance(0.5):
        pen.oval(0, 0.3, 0.18, 0.28, pen.colours.pale)
    for side in (-1, 1):
        pen.limb([(0.13 * side, 0.3), (0.15 * side, 0.82)], 0.13, coat)
        pen.oval(0.2 * side, 0.86, 0.15, 0.08, coat)


def _legs(pen: Pen, width: float) -> None:
    for x in (-0.42, -0.22, 0.36, 0.56):
        step = pen.vary(-0.1, 0.1)
        pen.limb([(x, 0.2), (x + step / 2, 0.5), (x + step, 0.84)], width, pen.colours.main)


def _dog_head(pen: Pen) -> None:
    coat, ears, pale = pen.colours.main, pen.colours.second, pen.colours.pale
    pen.blob(
        [
            (-0.3, -0.66),
            (0.3, -0.66),
            (0.6, -0.2),
            (0.52, 0.4),
            (0.2, 0.78),
            (-0.2, 0.78),
            (-0.52, 0.4),
            (-0.6, -0.2),
        ],
        coat,
    )
    if pen.chance(0.3):
        pen.oval(0.24, -0.14, 0.24, 0.27, ears)
    for side in (-1, 1):
        droop = pen.vary(-0.12, 0.16)
        pen.blob(
            [
                (0.32 * side, -0.68),
                (0.62 * side, -0.6),
                (0.9 * side, 0.0 + droop),
                (0.82 * side, 0.32 + droop),
                (0.62 * side, 0.2 + droop),
                (0.52 * side, -0.25),
            ],
            ears,
        )
        _eye(pen, 0.23 * side, -0.15, 0.1)
    if pen.chance(0.55):
        pen.blob([(-0.1, 0.5), (0.12, 0.5), (0.14, 0.82), (0.01, 0.92), (-0.12, 0.82)], pen.colours.accent)
    pen.oval(0, 0.36, 0.36, 0.27, pale)
    pen.oval(0, 0.19, 0.15, 0.1, pen.colours.ink)
    pen.stroke([(0, 0.25), (0, 0.42)])
    pen.stroke([(-0.2, 0.4), (-0.1, 0.49), (0, 0.42), (0.1, 0.49), (0.2, 0.4)])


def _cat_head(pen: Pen) -> None:
    coat, inner = pen.colours.main, pen.colours.accent
    tip = pen.vary(-0.06, 0.06)
    for side in (-1, 1):
        pen.polygon([(0.12 * side, -0.4), (0.66 * side, -0.92 + tip), (0.7 * side, -0.05)], coat)
        pen.polygon([(0.34 * side, -0.46), (0.58 * side, -0.72 + tip), (0.59 * side, -0.3)], inner)
    pen.oval(0, 0.1, 0.74, 0.6, coat)
    if pen.chance(0.4):
        for x in (-0.16, 0.0, 0.16):
            pen.stroke([(x, -0.46), (x * 0.8, -0.24)], 0.07, pen.colours.second)
    for side in (-1, 1):
        _cat_eye(pen, 0.3 * side, 0.0)
    pen.polygon([(-0.1, 0.2), (0.1, 0.2), (0, 0.31)], inner)
    pen.stroke([(-0.2, 0.4), (-0.1, 0.46), (0, 0.34), (0.1, 0.46), (0.2, 0.4)])
    for side in (-1, 1):
        for rise in (-0.14, 0.02, 0.18):
            pen.stroke([(0.3 * side, 0.3 + rise / 3), (0.98 * side, 0.28 + rise)], 0.035)


def _cat_eye(pen: Pen, x: float, y: float) -> None:
    if pen.line > 0.08:  # a small head: a dot is all that shows
        pen.dot(x, y, 0.12)
        return
    pen.oval(x, y, 0.15, 0.13, pen.colours.pale)
    pen.oval(x, y, 0.02, 0.09, pen.colours.ink)


def _eye(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.dot(x, y, radius * 1.5, pen.colours.pale)
    pen.dot(x, y, radius)


def _markings(pen: Pen, x: float, y: float, wide: float, high: float) -> None:
    """Spots, stripes or nothing within an oval; any animal may have any of them."""
    kind, colour = pen.vary(0, 1), pen.colours.second
    if kind < 0.3:
        for _ in range(4):
            pen.dot(x + pen.vary(-wide, wide), y + pen.vary(-high, high), pen.vary(0.05, 0.1), colour)
    elif kind < 0.55:
        for step in (-0.8, -0.3, 0.2, 0.7):
            pen.stroke([(x + step * wide, y - high), (x + step * wide + 0.04, y + high / 3)], 0.07, colour)


def bird(pen: Pen) -> None:
    """Draw a bird, perched or on the wing, or a round one on two thin legs."""
    if pen.chance(0.35):
        _bird_flying(pen)
        return
    coat, wing, beak = pen.colours.main, pen.colours.second, pen.colours.accent
    for x in (-0.02, 0.16):
        pen.stroke([(x, 0.5), (x, 0.85)])
        pen.stroke([(x - 0.14, 0.88), (x, 0.83), (x + 0.1, 0.88)])
    pen.polygon([(0.4, 0.1), (0.97, 0.1 + pen.vary(-0.2, 0.3)), (0.9, 0.42), (0.4, 0.4)], wing)
    pen.polygon([(-0.62, -0.5), (-0.98, -0.33), (-0.6, -0.22)], beak)
    pen.blob(
        [
            (-0.4, -0.75),
            (-0.12, -0.58),
            (0.1, -0.2),
            (0.55, 0.2),
            (0.3, 0.52),
            (-0.2, 0.55),
            (-0.5, 0.2),
            (-0.62, -0.35),
        ],
        coat,
    )
    pen.blob([(-0.2, -0.02), (0.2, 0.0), (0.5, 0.3), (0.1, 0.38), (-0.15, 0.25)], wing)
    _eye(pen, -0.4, -0.43, 0.06)


def _bird_flying(pen: Pen) -> None:
    coat, wing, beak = pen.colours.main, pen.colours.second, pen.colours.accent
    lift = pen.vary(-0.15, 0.1)
    pen.blob([(-0.05, 0.1), (0.12, -0.4), (0.48, -0.78 + lift), (0.42, -0.3), (0.28, 0.1)], wing)
    pen.polygon([(0.5, 0.15), (0.97, -0.02), (0.88, 0.2), (0.97, 0.38), (0.5, 0.3)], wing)
    pen.polygon([(-0.66, 0.02), (-0.97, 0.14), (-0.64, 0.24)], beak)
    pen.blob([(-0.7, 0.08), (-0.5, -0.1), (0, 0.0), (0.58, 0.18), (0.2, 0.42), (-0.35, 0.42), (-0.62, 0.28)], coat)
    pen.blob([(-0.2, 0.12), (-0.3, -0.4), (-0.12, -0.88 + lift), (0.12, -0.45), (0.22, 0.16)], wing)
    _eye(pen, -0.5, 0.08, 0.06)


def fish(pen: Pen) -> None:
    """Draw a fish from the side: a forked tail, fins, an eye, at times scales or bubbles."""
    coat, fin = pen.colours.main, pen.colours.second
    high = pen.vary(0.38, 0.58)
    pen.blob([(0.42, 0), (0.9, -0.42), (0.78, 0), (0.9, 0.42)], fin)
    pen.blob([(-0.2, -high * 0.8), (0.1, -high - 0.25), (0.35, -high * 0.5), (0.1, -high * 0.4)], fin)
    pen.blob([(-0.1, high * 0.7), (0.14, high + 0.2), (0.2, high * 0.6)], fin)
    pen.blob(
        [
            (-0.88, 0),
            (-0.55, -high * 0.8),
            (-0.1, -high),
            (0.35, -high * 0.45),
            (0.52, 0),
            (0.35, high * 0.45),
            (-0.1, high),
            (-0.55, high * 0.8),
        ],
        coat,
    )
    _fish_skin(pen, high)
    pen.stroke([(-0.38, -high * 0.75), (-0.26, 0), (-0.38, high * 0.75)])
    _eye(pen, -0.58, -0.1, 0.075)
    pen.stroke([(-0.86, 0.08), (-0.74, 0.14), (-0.66, 0.12)])
    if pen.chance(0.4):
        for rise in (0.3, 0.55, 0.8):
            pen.oval(-0.9 + pen.vary(-0.06, 0.06), -rise, 0.07, 0.07, None)


def _fish_skin(pen: Pen, high: float) -> None:
    kind = pen.vary(0, 1)
    if kind < 0.4:
        for x in (-0.1, 0.12, 0.32):
            reach = high * (0.75 - abs(x) * 0.9)
            pen.stroke([(x, -reach), (x + 0.08, 0), (x, reach)], 0.09, pen.colours.accent)
    elif kind < 0.7:
        for x, y in ((-0.08, -0.2), (-0.08, 0.16), (0.1, 0.0), (0.26, -0.12), (0.26, 0.14)):
            pen.stroke([(x, y - 0.1), (x + 0.09, y), (x, y + 0.1)])


def butterfly(pen: Pen) -> None:
    """Draw a butterfly from above: four spotted wings, a slim body, two feelers."""
    upper, lower, spot = pen.colours.main, pen.colours.second, pen.colours.accent
    spread, fall = pen.vary(0.8, 1.0), pen.vary(0.6, 0.85)
    for side in (-1, 1):
        pen.blob(
            [
                (0.05 * side, 0.05),
                (0.5 * side * spread, 0.12),
                (0.66 * side * spread, 0.5),
                (0.4 * side, fall),
                (0.14 * side, 0.5),
            ],
            lower,
        )
        pen.blob(
            [
                (0.04 * side, 0.08),
                (0.2 * side, -0.42),
                (0.72 * side * spread, -0.78),
                (0.96 * side * spread, -0.48),
                (0.72 * side * spread, 0.08),
            ],
            upper,
        )
        pen.oval(0.6 * side * spread, -0.38, 0.16, 0.15, spot)
        if pen.chance(0.6):
            pen.dot(0.4 * side, 0.42, 0.09, spot)
        pen.stroke([(0.03 * side, -0.4), (0.1 * side, -0.68), (0.26 * side, -0.86)])
        pen.dot(0.26 * side, -0.86, 0.05)
    pen.oval(0, 0.08, 0.08, 0.48, pen.colours.ink)


def face(pen: Pen) -> None:
    """Draw a human face from the front: hair, eyes, nose, mouth, now and then glasses or a beard."""
    skin, hair, ink = pen.colours.main, pen.colours.second, pen.colours.ink
    if pen.chance(0.4):
        pen.blob(
            [
                (-0.7, -0.3),
                (-0.4, -0.9),
                (0.4, -0.9),
                (0.7, -0.3),
                (0.78, 0.6),
                (0.4, 0.8),
                (-0.4, 0.8),
                (-0.78, 0.6),
            ],
            hair,
        )
    for side in (-1, 1):
        pen.oval(0.62 * side, 0.05, 0.12, 0.16, skin)
    pen.oval(0, 0.05, 0.6, 0.8, skin)
    _fringe(pen, hair)
    for side in (-1, 1):
        pen.oval(0.24 * side, -0.04, 0.12, 0.08, pen.colours.pale)
        pen.dot(0.24 * side, -0.04, 0.06)
        pen.stroke([(0.12 * side, -0.2), (0.26 * side, -0.25), (0.38 * side, -0.19)])
    if pen.chance(0.3):
        for side in (-1, 1):
            pen.oval(0.25 * side, -0.04, 0.2, 0.17, None)
        pen.stroke([(-0.06, -0.05), (0.06, -0.05)])
    pen.stroke([(0.0, 0.02), (-0.08, 0.24), (0.05, 0.27)])
    smile = pen.vary(-0.06, 0.16)
    if pen.chance(0.5):
        pen.blob([(-0.26, 0.45), (0, 0.47), (0.26, 0.45), (0.12, 0.6), (-0.12, 0.6)], pen.colours.accent)
    else:
        pen.stroke([(-0.26, 0.5), (-0.1, 0.5 + smile), (0.1, 0.5 + smile), (0.26, 0.5)], 0.07, ink)


def _fringe(pen: Pen, hair: Colour) -> None:
    kind = pen.vary(0, 1)
    if kind < 0.4:
        pen.blob(
            [
                (-0.64, -0.1),
                (-0.5, -0.68),
                (0, -0.92),
                (0.5, -0.68),
                (0.64, -0.1),
                (0.36, -0.42),
                (0, -0.48),
                (-0.36, -0.42),
            ],
            hair,
        )
    elif kind < 0.75:
        for step in range(7):
            turn = math.pi * (1.1 + 0.8 * step / 6)
            pen.oval(0.52 * math.cos(turn), 0.62 * math.sin(turn), 0.19, 0.17, hair)
    else:
        for x in (-0.3, -0.15, 0.0, 0.15, 0.3):
            pen.stroke([(x, -0.66), (x * 1.4 + 0.04, -0.95)], 0.06, hair)
