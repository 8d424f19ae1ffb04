"""The layers of models that were looked at once, remembered in the user's cache for the compiler. No torch here.

A model is remembered for the version of the package that its source is named after; a source that draws from no
package, but from files that may change, is not remembered.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import platformdirs

from circuitlang.compiler.plan import Model, digest
from circuitlang.compiler.program import Layers, model_key


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is remembered of one model."""

    key: str
    source: str
    version: str
    widths: dict[str, int]
    short: list[str]


def folder() -> Path:
    """Where layers are remembered: below CIRCUITLANG_CACHE, or the user's cache directory."""
    chosen = os.environ.get("CIRCUITLANG_CACHE")
    return Path(chosen or platformdirs.user_cache_dir("circuitlang", appauthor=False)) / "layers"


def remember(model: Model, widths: Mapping[str, int], short: Sequence[str]) -> None:
    """Note the layers of a model. Where nothing can be written, nothing is remembered, which does no harm."""
    edition = _version(model.source)
    if edition is None:
        return
    record = _Record(
        model_key(model.source, model.name, model.arguments), model.source, edition, dict(widths), [*short]
    )
    content = msgspec.json.encode(record)
    path = folder() / f"{digest(record.key.encode())[:24]}.json"
    with suppress(OSError):
        if not path.is_file() or path.read_bytes() != content:
            _write(path, content)


def known() -> dict[str, Layers]:
    """The layers of every model that is remembered, by `model_key`; what can't be read is passed over."""
    found = {}
    for path in sorted(folder().glob("*.json")):
        with suppress(OSError, msgspec.DecodeError):
            record = msgspec.json.decode(path.read_bytes(), type=_Record)
            if record.version == _version(record.source):
                found[record.key] = Layers(record.widths, tuple(record.short))
    return found


def _write(path: Path, content: bytes) -> None:
    """All of a file or nothing, also where two processes write it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


@cache
def _version(source: str) -> str | None:
    """Of the package that a source is named after; None where there is none."""
    try:
        return version(source)
    except PackageNotFoundError:
        return None
