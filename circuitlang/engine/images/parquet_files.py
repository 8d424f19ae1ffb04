"""Images in Parquet files, as data sets of Hugging Face have them: a column of encoded images, and one of labels.

The column is the first that has bytes, or structs with a field `bytes`; one that is named `image` or `img` goes first.
Each image is a file of its row's number, in a folder of its class if a column `label` has classes or texts.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from circuitlang.base.diagnostics import Finding, InputError

ENDING = ".parquet"
# Rows that are in memory at once.
_ROWS = 64
_NAMES, _LABELS = ("image", "img"), ("label", "labels", "class")
# The first bytes of encoded images, and the endings of their files.
_BEGINNINGS = {
    b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp", b"II*\x00": "tif", b"MM\x00*": "tif",
    b"RIFF": "webp", b"\x93NUMPY": "npy", b"P5": "pgm", b"P6": "ppm",
}  # fmt: skip


def members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the content of each image. Raises InputError without pyarrow, ValueError without images."""
    try:
        from pyarrow import parquet
    except ImportError:
        cure = "pip install 'circuitlang[parquet]'"
        raise InputError(Finding("E361", "pyarrow is not installed", None, f"{path.name} needs it", cure)) from None
    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        column = _image_column(schema)
        label = next((name for name in _LABELS if name in schema.names), None)
        classes = _classes(schema.metadata or {}, label)
        wanted = [column] if label is None else [column, label]
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS, columns=wanted):
            for row in batch.to_pylist():
                yield _member(number, row[column], _folder(row.get(label), classes))
                number += 1


def _image_column(schema: Any) -> str:
    """Return the name of the column of images. Raises ValueError if there is none."""
    from pyarrow import types

    def fits(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(field.name == "bytes" and fits(field.type) for field in kind.fields)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    columns = [str(field.name) for field in schema if fits(field.type)]
    if not columns:
        raise ValueError("it has no column of encoded images")
    return min(columns, key=lambda name: name not in _NAMES)


def _classes(metadata: Mapping[bytes, bytes], label: str | None) -> list[str]:
    """Return the names of the classes, as Hugging Face notes them down in the file; none if they aren't there."""
    import json

    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _folder(label: object, classes: list[str]) -> str:
    """Return the folder of a class with a slash behind it; nothing if an image has none."""
    if isinstance(label, int) and 0 <= label < len(classes):
        label = classes[label]
    if label is None or isinstance(label, (list, dict, bytes)):
        return ""
    name = "".join("_" if letter in "/\\:" else letter for letter in str(label)).strip(".")
    return f"{name}/" if name else ""


def _member(number: int, value: object, folder: str) -> tuple[str, IO[bytes]]:
    """Return the name and the content of an image. Raises ValueError if a row has none."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise ValueError(f"row {number} has no image in it")
    ending = next((ending for begin, ending in _BEGINNINGS.items() if content.startswith(begin)), "png")
    return f"{folder}{number:08}.{ending}", io.BytesIO(content)
