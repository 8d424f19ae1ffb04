"""The thumbnail of a circuit: a small image of its feature, which is the icon of its pages and stands in the index."""

from __future__ import annotations

import base64
import io
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, features

from circuitlang.base.plain_files import read_beginning
from circuitlang.reporting.diagram.figure import targets
from circuitlang.results.types import Result

NO_ICON = "data:,"
_SIDE, _QUALITY = 48, 60
# The pages that have it, and the part of them that it is in, in bytes.
_PAGES, _HEAD = ("report.html", "diagram.html"), 8192
_ICON = re.compile(rb'<link rel="icon" href="(data:image/webp;base64,[A-Za-z0-9+/]{16,4000}={0,2})">')


def thumbnail(result: Result) -> str:
    """Return an image as a data URI: of what excites the feature most, else of what was made to. `NO_ICON` where there
    is neither."""
    crops = [result.exemplars[channel] for channel in sorted(targets(result)) if channel in result.exemplars]
    made = [result.visualisations.target[0]] if result.visualisations else []
    pixels = next(iter((*crops, *made)), None)
    if pixels is None or not features.check("webp"):
        return NO_ICON
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    content = io.BytesIO()
    Image.fromarray(square).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(content, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def stored_thumbnail(folder: Path) -> str:
    """Return the thumbnail in the pages of a finished circuit; empty where they have none."""
    for page in _PAGES:
        with suppress(OSError):
            if match := _ICON.search(read_beginning(folder / page, _HEAD)):
                return match[1].decode()
    return ""
