"""An SVG from a folder → one that is known to be a drawing of ours: it names no file, runs nothing, and has a size.

Only the elements and attributes that a diagram is made of are let through, each with the values it may have. What is
not known here is refused, so that nobody need know all that does harm.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from PIL import Image

from circuitlang.reporting.diagram.svg import FONT

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_ELEMENTS = (
    "svg", "title", "desc", "style", "defs", "clipPath", "g", "rect", "circle", "line", "path", "polygon", "text",
    "image",
)  # fmt: skip
_STYLE = ".circuit-edge:hover{stroke-opacity:1}"
_NUMBER = re.compile(r"-?\d{1,7}(\.\d{1,6})?")
_NUMBERS = re.compile(r"-?\d{1,7}(\.\d{1,6})?([ ,]-?\d{1,7}(\.\d{1,6})?)*")
_PATH = re.compile(r"(?!.*\d{8})[MLHVCZ\d ,.-]{0,100000}")
_WORD = re.compile(r"[\w-]{1,40}")
# The kind of value of an attribute; all others are numbers.
_VALUES = {
    "viewBox": _NUMBERS, "points": _NUMBERS, "stroke-dasharray": _NUMBERS, "d": _PATH,
    "transform": re.compile(r"translate\(" + _NUMBERS.pattern + r"\)"),
    "width": re.compile(_NUMBER.pattern + "|100%"), "height": re.compile(_NUMBER.pattern + "|100%"),
    "fill": re.compile("#[0-9a-fA-F]{3,8}|none"), "stroke": re.compile("#[0-9a-fA-F]{3,8}|none"),
    "role": re.compile("img"), "font-family": re.compile(re.escape(FONT)), "id": _WORD, "clipPathUnits": _WORD,
    "clip-path": re.compile(r"url\(#[\w-]{1,40}\)"), "class": re.compile(r"[\w -]{1,80}"), "text-anchor": _WORD,
    "paint-order": _WORD, "stroke-linejoin": _WORD, "stroke-linecap": _WORD,
    # Names of channels, which nothing is done with.
    "data-from": re.compile(".{0,1000}"), "data-to": re.compile(".{0,1000}"), "data-channel": re.compile(".{0,1000}"),
    "data-label": re.compile(".{0,1000}"),
}  # fmt: skip
_PLAIN = (
    "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "font-size", "font-weight", "stroke-width",
    "stroke-opacity", "fill-opacity", "opacity",
)  # fmt: skip
_EMBEDDED = re.compile(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/]+={0,2})")
# More than any drawing has: bytes of its file, elements, elements inside one another, pixels of its images.
_BYTES, MAX_ELEMENTS, _DEPTH, _PIXELS = 1 << 26, 200_000, 32, 1 << 26


class ForeignError(ValueError):
    """An SVG that circuitlang did not draw."""


@dataclass(frozen=True)
class Drawing:
    """The text of an SVG and its size in pixels."""

    text: str
    width: float
    height: float


def trusted(content: bytes) -> Drawing:
    """Parse the drawing in a file. Raises ForeignError if it has anything that circuitlang doesn't draw."""
    _demand(len(content) <= _BYTES, "it is larger than any drawing")
    text = content.decode()
    body = text[text.index("?>") + 2 :] if text.startswith("<?xml ") and "?>" in text else text
    # Without these there are no entities, no style sheets, and nothing that two parsers read differently.
    _demand("<!" not in body and "<?" not in body, "it has declarations or instructions")
    pixels = count = depth = 0
    root: Xml.Element | None = None
    try:
        for event, element in Xml.iterparse(io.BytesIO(body.encode()), events=("start", "end")):
            depth += 1 if event == "start" else -1
            _demand(depth <= _DEPTH, "its elements are nested deeper than those of any drawing")
            if event == "start":
                root = element if root is None else root
                continue
            count += 1
            _demand(count <= MAX_ELEMENTS, "it has more elements than any drawing")
            pixels += _element(element)
            _demand(pixels <= _PIXELS, "it has larger images than any drawing")
    except Xml.ParseError as error:
        raise ForeignError(f"it is no SVG: {error}") from None
    _demand(root is not None and root.tag == _SVG + "svg", "it is no SVG")
    assert root is not None
    size = [root.get(name, "") for name in ("width", "height")]
    _demand(all(_NUMBER.fullmatch(side) and float(side) > 0 for side in size), "it has no size")
    return Drawing(body, float(size[0]), float(size[1]))


def _element(element: Xml.Element) -> int:
    """Count the pixels of an element's image."""
    name = element.tag.removeprefix(_SVG)
    _demand(element.tag.startswith(_SVG) and name in _ELEMENTS, f"it has an element {name[:40]}")
    _demand(name != "style" or element.text == _STYLE, "it has a style of its own")
    pixels = 0
    for attribute, value in element.attrib.items():
        if attribute == _LINK:
            pixels = _picture(value)
            continue
        pattern = _VALUES.get(attribute, _NUMBER if attribute in _PLAIN else None)
        sound = pattern is not None and pattern.fullmatch(value)
        _demand(bool(sound), f"it has an attribute {attribute[:40]}={value[:40]!r}")
    return pixels


def _picture(link: str) -> int:
    match = _EMBEDDED.fullmatch(link)
    if match is None:
        raise ForeignError(f"it has a link to {link[:40]!r}")
    try:
        with Image.open(io.BytesIO(base64.b64decode(match[2], validate=True)), formats=["PNG", "JPEG"]) as picture:
            return picture.width * picture.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ForeignError(f"it has an image that can't be read: {str(error)[:80]}") from None


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ForeignError(otherwise)
