"""SVG elements whose text and numbers are always fit to be written."""

from __future__ import annotations

import re
from unicodedata import east_asian_width
from xml.etree.ElementTree import Element, SubElement, tostring

from circuitlang.base.printable import lines

FONT = 'system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif'
# Characters that XML 1.0 can't hold, not even escaped.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def canvas(width: float, height: float, title: str, description: str) -> Element:
    """Return an `svg` element with a title and a description for screen readers."""
    size = {
        "width": number(width),
        "height": number(height),
        "viewBox": f"0 0 {number(width)} {number(height)}",
    }
    names = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}
    svg = Element("svg", names | size | {"role": "img", "font-family": FONT})
    add(svg, "title", title)
    add(svg, "desc", description)
    return svg


def add(parent: Element, tag: str, text: str = "", **attributes: float | str) -> Element:
    """Add a child; `font_size=12.5` becomes `font-size="12.5"`."""
    named = {
        name.strip("_").replace("_", "-"): clean(value) if isinstance(value, str) else number(value)
        for name, value in attributes.items()
    }
    element = SubElement(parent, tag, named)
    element.text = clean(text) or None
    return element


def write(svg: Element) -> bytes:
    """Return the content of the file."""
    content: bytes = tostring(svg, encoding="utf-8", xml_declaration=True)
    return content


def clean(text: str) -> str:
    """Text without the characters that no XML file may have or that nobody sees; markup is escaped when written."""
    return FORBIDDEN.sub("\ufffd", lines(text))


def number(value: float) -> str:
    """Format a coordinate with two decimals, finer than any screen."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def text_width(text: str, size: float) -> float:
    """About how wide a line of text is; there is no font to measure, so rather too much than too little."""
    return 0.53 * size * sum(1.8 if east_asian_width(letter) in "WF" else 1.0 for letter in text)


def shorten(text: str, letters: int) -> str:
    """Both ends of a long name: the layer is often told by its last part."""
    if len(text) <= letters:
        return text
    front = (letters - 1) // 2
    return f"{text[:front]}…{text[front + 1 - letters :]}"
