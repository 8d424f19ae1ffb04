"""Completion of paths: folders, images and specs below the folder of a spec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from circuitlang.compiler.image_sets import ENDINGS

# Entries of a folder that are looked at: each keystroke waits for this.
_ENTRIES = 2000


def files(folder: Path, written: str, endings: tuple[str, ...] | None = None) -> Iterator[str]:
    """Yield the paths that go on from what is written: folders with a slash, and files of an ending, by name.

    Without endings, the files are images, and a folder with images is also offered with `*`.
    """
    inside, _, beginning = written.rpartition("/")
    prefix = f"{inside}/" if "/" in written else ""
    with suppress(OSError, ValueError), os.scandir(folder / (prefix or ".")) as entries:
        for entry in sorted(islice(entries, _ENTRIES), key=lambda entry: entry.name):
            name = entry.name
            if name.startswith(".") or not name.startswith(beginning):
                continue
            if entry.is_dir():
                yield f"{prefix}{name}/"
                if endings is None:
                    yield f"{prefix}{name}/*"
            elif name.rpartition(".")[2].lower() in (endings or ENDINGS):
                # A word without a slash would be the name of an image set.
                yield f"{prefix}{name}" if prefix or endings else f"./{name}"
