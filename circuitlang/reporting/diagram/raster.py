"""The diagram in a circuit's folder → an image of another kind, by a package that most people don't need."""

from __future__ import annotations

import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.reporting.diagram.svg_check import Drawing, trusted
from circuitlang.results.reader import read_file

# Twice the size on a page, unless that is more pixels than programs open: along a side, and in all.
_SCALE, _SIDE, _PIXELS = 2.0, 16_384, 1 << 27
# The program of a separate process, because the converter may end it. It finds packages where this one does.
_PROGRAM = """
import sys
kind, scale, sys.path[:] = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
import vl_convert
svg = sys.stdin.buffer.read().decode()
made = vl_convert.svg_to_png(svg, scale=scale) if kind == "png" else vl_convert.svg_to_pdf(svg)
sys.stdout.buffer.write(made)
"""


def read_diagram(folder: Path) -> Drawing:
    """Read a circuit's diagram and check that a run drew it. Raises InputError."""
    try:
        return trusted(read_file(folder, "diagram.svg"))
    except ValueError as error:
        message, cure = (
            f"{folder / 'diagram.svg'} is no diagram that a run drew",
            "run its spec again, which draws it anew",
        )
        raise InputError(Finding("E312", message, None, str(error), cure)) from None


def convert(folder: Path, kind: Literal["png", "pdf"]) -> bytes:
    """Convert a circuit's diagram into an image. Raises InputError, also where the package isn't installed."""
    if find_spec("vl_convert") is None:
        cure = "pip install 'circuitlang[images]'"
        raise InputError(Finding("E361", "vl-convert-python is not installed", None, "", cure))
    drawing = read_diagram(folder)
    call = [sys.executable, "-c", _PROGRAM, kind, str(scale(drawing)), *sys.path]
    done = subprocess.run(call, input=drawing.text.encode(), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        reason = done.stderr.decode(errors="replace").strip().split("\n")[-1] or f"it ended with {done.returncode}"
        raise InputError(Finding("E312", f"{folder / 'diagram.svg'} can't be drawn", None, reason[:200]))
    return done.stdout


def scale(drawing: Drawing) -> float:
    side, pixels = max(drawing.width, drawing.height), drawing.width * drawing.height
    return min(_SCALE, _SIDE / side, math.sqrt(_PIXELS / pixels))
