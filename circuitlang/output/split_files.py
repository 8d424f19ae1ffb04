"""Split → its files by name."""

from __future__ import annotations

import msgspec

from circuitlang.engine.result import Divided, Split
from circuitlang.output import charts
from circuitlang.output.console import as_text
from circuitlang.output.split_page import split_page
from circuitlang.output.split_report import render


def split_files(divided: Divided) -> dict[str, bytes]:
    """`split.json` has all of it, `report.txt` is the terminal's report, `report.html` the page, `embedding.svg` its
    picture of where the images lie."""
    content = msgspec.json.format(msgspec.json.encode(divided.split), indent=2)
    return {
        "split.json": content + b"\n",
        "report.txt": _text(divided.split),
        "report.html": split_page(divided),
        "embedding.svg": charts.alone(charts.embedding(divided.split)).encode(),
    }


def _text(split: Split) -> bytes:
    return as_text(render(split))
