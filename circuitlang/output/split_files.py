"""Split → its files by name."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from circuitlang.engine.result import Divided, Split
from circuitlang.output import charts
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
    text = io.StringIO()
    console = Console(file=text, width=100, color_system=None, force_terminal=False, highlight=False)
    console.print(render(split))
    return ("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n").encode()
