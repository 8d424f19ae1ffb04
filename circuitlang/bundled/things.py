"""Figures of plants and of things people make."""

from __future__ import annotations

import math

from circuitlang.bundled.pen import Pen


def car(pen: Pen) -> None:
    """Draw a car from the side (saloon, hatchback or van) or from the front: wheels, windows, lamps."""
    if pen.chance(0.3):
        _car_front(pen)
        return
    paint, glass = pen.colours.main, pen.colours.pale
    roof, front, back = pen.vary(-0.55, -0.42), pen.vary(-0.55, -0.4), pen.vary(0.45, 0.85)
    pen.polygon([(front, -0.08), (front + 0.24, roof), (back - 0.16, roof), (back, -0.08)], paint)
    middle = (front + back) / 2 + 0.06
    sill, top = -0.08, roof + 0.1
    pen.polygon([(front + 0.13, sill), (front + 0.28, top), (middle - 0.05, top), (middle - 0.05, sill)], glass)
    pen.polygon([(middle + 0.05, sill), (middle + 0.05, top), (back - 0.2, top), (back - 0.1, sill)], glass)
    pen.blob(
        [
            (-0.92, 0.0),
            (-0.5, -0.1),
            (0.5, -0.1),
            (0.92, -0.02),
            (0.95, 0.32),
            (0.5, 0.38),
            (-0.5, 0.38),
            (-0.96, 0.32),
        ],
        paint,
    )
    pen.stroke([(middle, -0.02), (middle, 0.32)])
    pen.stroke([(middle + 0.06, 0.06), (middle + 0.18, 0.06)])
    pen.oval(-0.87, 0.1, 0.07, 0.08, pen.colours.accent)
    for x in (-0.5, 0.5):
        _wheel(pen, x, 0.4, pen.vary(0.2, 0.25))


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.oval(x, y, radius, radius, pen.colours.ink)
    pen.oval(x, y, radius * 0.45, radius * 0.45, pen.colours.pale)


def _car_front(pen: Pen) -> None:
    paint, glass = pen.colours.main, pen.colours.pale
    for side in (-1, 1):
        pen.polygon([(0.45 * side, 0.4), (0.75 * side, 0.4), (0.75 * side, 0.8), (0.45 * side, 0.8)], pen.colours.ink)
        pen.oval(0.8 * side, -0.12, 0.12, 0.08, paint)
    pen.polygon([(-0.6, 0.0), (-0.45, -0.62), (0.45, -0.62), (0.6, 0.0)], paint)
    pen.polygon([(-0.47, -0.08), (-0.36, -0.5), (0.36, -0.5), (0.47, -0.08)], glass)
    pen.blob(
        [
            (-0.7, -0.05),
            (0, -0.08),
            (0.7, -0.05),
            (0.84, 0.2),
            (0.8, 0.56),
            (0, 0.6),
            (-0.8, 0.56),
            (-0.84, 0.2),
        ],
        paint,
    )
    for side in (-1, 1):
        pen.oval(0.55 * side, 0.18, 0.16, 0.14, pen.colours.accent)
    for y in (0.12, 0.22, 0.32):
        pen.stroke([(-0.26, y), (0.26, y)])
    pen.polygon([(-0.18, 0.42), (0.18, 0.42), (0.18, 0.54), (-0.18, 0.54)], glass)


def house(pen: Pen) -> None:
    """Draw a house: walls, a pitched roof, a door, windows with crossed bars, often a chimney."""
    wall, roof, wood = pen.colours.main, pen.colours.second, pen.colours.accent
    half, eaves = pen.vary(0.55, 0.75), pen.vary(-0.22, -0.02)
    if pen.chance(0.65):
        pen.polygon([(0.3, -0.85), (0.5, -0.85), (0.5, -0.2), (0.3, -0.2)], wood)
        if pen.chance(0.5):
            pen.stroke([(0.4, -0.92), (0.52, -1.0), (0.44, -1.1), (0.6, -1.2)])
    pen.polygon([(-half, eaves), (half, eaves), (half, 0.85), (-half, 0.85)], wall)
    pen.polygon([(-half - 0.2, eaves), (0, -0.88), (half + 0.2, eaves)], roof)
    door = pen.vary(-0.3, 0.1)
    pen.polygon([(door - 0.14, 0.32), (door + 0.14, 0.32), (door + 0.14, 0.85), (door - 0.14, 0.85)], wood)
    pen.dot(door + 0.07, 0.6, 0.04)
    _window(pen, door + 0.38, 0.35)
    if door > -0.1:
        _window(pen, door - 0.38, 0.35)
    if pen.chance(0.5):
        pen.oval(0, eaves - 0.26, 0.11, 0.11, pen.colours.pale)


def _window(pen: Pen, x: float, y: float) -> None:
    pen.polygon(
        [(x - 0.15, y - 0.15), (x + 0.15, y - 0.15), (x + 0.15, y + 0.15), (x - 0.15, y + 0.15)],
        pen.colours.pale,
    )
    pen.stroke([(x, y - 0.15), (x, y + 0.15)])
    pen.stroke([(x - 0.15, y), (x + 0.15, y)])


def tree(pen: Pen) -> None:
    """Draw a tree: a trunk under a cloud of leaves, perhaps with apples, or under the tiers of a fir."""
    leaves, trunk = pen.colours.main, pen.colours.second
    wide = pen.vary(0.1, 0.16)
    pen.polygon([(-wide, 0.1), (wide, 0.1), (wide * 1.4, 0.95), (-wide * 1.4, 0.95)], trunk)
    if pen.chance(0.4):
        for top, reach in ((0.05, 0.68), (-0.35, 0.54), (-0.72, 0.4)):
            pen.polygon([(-reach, top + 0.5), (0, top - 0.25), (reach, top + 0.5)], leaves)
        return
    if pen.chance(0.5):
        pen.stroke([(0, 0.4), (0.2, 0.2), (0.32, 0.1)], 0.1, trunk)
    around = [2 * math.pi * step / 7 + pen.vary(-0.2, 0.2) for step in range(7)]
    for turn in around:
        pen.oval(0.45 * math.cos(turn), -0.35 + 0.35 * math.sin(turn), 0.28, 0.25, leaves)
    for turn in around:  # once more without outlines, so that the cloud is one
        pen.dot(0.36 * math.cos(turn), -0.35 + 0.27 * math.sin(turn), 0.28, leaves)
    for _ in range(5 if pen.chance(0.5) else 0):
        pen.dot(pen.vary(-0.5, 0.5), pen.vary(-0.7, 0.0), 0.08, pen.colours.accent)


def flower(pen: Pen) -> None:
    """Draw a flower: petals around a middle, or a tulip's cup, on a stem with leaves."""
    petal, leaf = pen.colours.main, pen.colours.second
    lean = pen.vary(-0.2, 0.2)
    pen.limb([(0, -0.1), (lean, 0.4), (lean / 2, 0.95)], 0.06, leaf)
    for side in (-1, 1):
        if pen.chance(0.85):
            pen.oval(lean + 0.26 * side, 0.55, 0.27, 0.11, leaf, tilt=-0.5 * side)
    if pen.chance(0.3):
        pen.polygon(
            [
                (-0.4, -0.85),
                (-0.18, -0.45),
                (0, -0.9),
                (0.18, -0.45),
                (0.4, -0.85),
                (0.42, -0.2),
                (0.15, 0.08),
                (-0.15, 0.08),
                (-0.42, -0.2),
            ],
            petal,
        )
        return
    petals, start = int(pen.rng.integers(5, 9)), pen.vary(0, 1)
    for step in range(petals):
        turn = 2 * math.pi * step / petals + start
        pen.oval(0.38 * math.cos(turn), -0.35 + 0.38 * math.sin(turn), 0.25, 0.8 / petals + 0.04, petal, tilt=turn)
    pen.oval(0, -0.35, 0.2, 0.2, pen.colours.accent)


def plane(pen: Pen) -> None:
    """Draw an aeroplane from the side or from above: a slim hull, swept wings, a tail fin."""
    if pen.chance(0.45):
        _plane_above(pen)
        return
    hull, wing = pen.colours.main, pen.colours.second
    pen.polygon([(0.55, -0.1), (0.78, -0.6), (0.95, -0.6), (0.88, -0.02)], wing)
    pen.polygon([(-0.1, -0.15), (0.22, -0.6), (0.36, -0.6), (0.25, -0.15)], wing)
    pen.blob(
        [
            (-0.95, 0.06),
            (-0.75, -0.14),
            (-0.3, -0.2),
            (0.5, -0.18),
            (0.95, -0.12),
            (0.6, 0.14),
            (0, 0.24),
            (-0.7, 0.22),
        ],
        hull,
    )
    for x in (-0.45, -0.22, 0.01, 0.24, 0.47):
        pen.dot(x, -0.04, 0.055)
    pen.stroke([(-0.86, -0.02), (-0.7, -0.02), (-0.66, -0.12)])
    pen.polygon([(-0.15, 0.08), (0.3, 0.08), (0.55, 0.62), (0.34, 0.62)], wing)
    pen.polygon([(0.6, -0.02), (0.85, -0.02), (0.98, 0.2), (0.84, 0.2)], wing)


def _plane_above(pen: Pen) -> None:
    hull, wing = pen.colours.main, pen.colours.second
    sweep = pen.vary(0.15, 0.45)
    for side in (-1, 1):
        pen.polygon(
            [
                (0.05 * side, -0.25),
                (0.95 * side, -0.1 + sweep),
                (0.95 * side, 0.1 + sweep),
                (0.05 * side, 0.2),
            ],
            wing,
        )
        pen.polygon([(0.05 * side, 0.6), (0.4 * side, 0.78), (0.4 * side, 0.92), (0.05 * side, 0.84)], wing)
        pen.oval(0.45 * side, -0.05 + sweep / 2, 0.07, 0.14, pen.colours.accent)
    pen.blob(
        [(0, -0.95), (0.14, -0.7), (0.14, 0.4), (0.05, 0.92), (-0.05, 0.92), (-0.14, 0.4), (-0.14, -0.7)],
        hull,
    )
    pen.stroke([(-0.09, -0.66), (0, -0.7), (0.09, -0.66)])


def boat(pen: Pen) -> None:
    """Draw a boat: a hull on waves, under sails or with a cabin and a funnel."""
    hull, sail = pen.colours.main, pen.colours.pale if pen.chance(0.5) else pen.colours.accent
    if pen.chance(0.65):
        pen.stroke([(0.0, -0.92), (0.0, 0.3)], 0.06)
        pen.polygon([(-0.06, -0.85), (-0.06, 0.16), (-0.68, 0.16)], sail)
        pen.polygon([(0.08, -0.7), (0.08, 0.16), (0.55, 0.16)], sail)
    else:
        pen.polygon([(0.05, -0.8), (0.3, -0.8), (0.3, -0.2), (0.05, -0.2)], pen.colours.second)
        pen.polygon([(-0.5, -0.28), (0.55, -0.28), (0.55, 0.3), (-0.5, 0.3)], pen.colours.pale)
        for x in (-0.28, 0.02, 0.32):
            pen.oval(x, 0.0, 0.09, 0.09, pen.colours.accent)
    pen.polygon([(-0.95, 0.26), (0.95, 0.26), (0.62, 0.74), (-0.6, 0.74)], hull)
    if pen.chance(0.5):
        pen.stroke([(-0.8, 0.42), (0.8, 0.42)], 0.07, pen.colours.second)
    wave = [(-1.0 + 0.25 * step, 0.8 + (0.07 if step % 2 else -0.05)) for step in range(9)]
    pen.stroke(wave)


def cup(pen: Pen) -> None:
    """Draw a cup or mug: a rim, a handle, perhaps a saucer, a band, or steam."""
    glaze, band = pen.colours.main, pen.colours.second
    foot, top = pen.vary(0.3, 0.55), pen.vary(-0.35, -0.2)
    if pen.chance(0.45):
        pen.oval(-0.12, 0.75, 0.8, 0.13, pen.colours.pale)
    pen.limb([(0.4, -0.08), (0.78, -0.05), (0.78, 0.35), (0.36, 0.45)], 0.1, glaze)
    pen.polygon([(-0.68, top), (0.48, top), (foot - 0.1, 0.74), (-foot - 0.1, 0.74)], glaze)
    if pen.chance(0.5):
        pen.stroke([(-0.55, 0.28), (0.34, 0.28)], 0.16, band)
    elif pen.chance(0.5):
        for x in (-0.36, -0.1, 0.16):
            pen.dot(x, 0.25, 0.09, band)
    pen.oval(-0.1, top, 0.58, 0.14, pen.colours.accent)
    if pen.chance(0.6):
        for x in (-0.36, -0.1, 0.16):
            pen.stroke([(x, top - 0.2), (x + 0.08, top - 0.34), (x - 0.06, top - 0.46), (x + 0.04, top - 0.62)])


def clock(pen: Pen) -> None:
    """Draw a clock: a round or square face with marks and two hands, or an alarm clock with bells and feet."""
    case, dial = pen.colours.main, pen.colours.pale
    if pen.chance(0.4):
        for side in (-1, 1):
            pen.limb([(0.4 * side, 0.6), (0.6 * side, 0.92)], 0.1, pen.colours.second)
            pen.oval(0.46 * side, -0.72, 0.26, 0.18, pen.colours.second, tilt=0.7 * side)
    elif pen.chance(0.4):
        pen.polygon([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)], pen.colours.second)
    pen.oval(0, 0, 0.78, 0.78, case)
    pen.oval(0, 0, 0.6, 0.6, dial)
    for step in range(12):
        turn = math.pi * step / 6
        inner = 0.42 if step % 3 == 0 else 0.49
        pen.stroke([(inner * math.cos(turn), inner * math.sin(turn)), (0.53 * math.cos(turn), 0.53 * math.sin(turn))])
    for reach, width in ((0.3, 0.08), (0.44, 0.05)):
        turn = pen.vary(0, 2 * math.pi)
        pen.stroke([(0, 0), (reach * math.cos(turn), reach * math.sin(turn))], width)
    pen.dot(0, 0, 0.07, pen.colours.accent)
