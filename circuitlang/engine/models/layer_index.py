"""Layers of models that were built before, kept in the user's cache for the compiler. It doesn't import torch.

A model is remembered for the version of the package that its source is named after; a source that draws from no
package, but from files that may change, is not remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.cache_folder import cache_folder
from circuitlang.base.checksummed import BLANK, intact, report, seal
from circuitlang.base.versions import version
from circuitlang.plan.layers import Layers, NamedModule, has_own_shapes
from circuitlang.plan.model import IN_MEMORY

if TYPE_CHECKING:
    from circuitlang.plan.model import Model


# Sources of code that may change, which no package of that name has anything to do with.
_UNVERSIONED = ("file", "python", IN_MEMORY)


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of one model."""

    key: str
    source: str
    version: str
    widths: dict[str, int]
    short: list[str]
    modules: list[NamedModule]
    sha256: str = BLANK


def folder() -> Path:
    """Return the folder that layers are remembered in."""
    return cache_folder() / "layers"


def remember(
    model: Model, widths: Mapping[str, int], short: Sequence[str], modules: Sequence[NamedModule] = ()
) -> None:
    """Note the layers of a model. Where nothing can be written, nothing is remembered, which does no harm.

    The shapes of its modules are those for images as it takes them by itself. Where the model statement says how
    images are prepared, modules that were noted before stay; else they are noted without shapes.
    """
    edition = _version(model.source)
    if edition is None:
        return
    key = model.key
    path = _path(key)
    if has_own_shapes(model.arguments):
        earlier = _read(path) if path.is_file() else None
        unshaped = [msgspec.structs.replace(module, shape=()) for module in modules]
        modules = (earlier.modules if earlier else ()) or unshaped
    record = _Record(key, model.source, edition, dict(widths), [*short], [*modules])
    content = seal(msgspec.json.encode(record), record.key)
    with suppress(OSError):
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)


class LayerIndex(Mapping[str, Layers]):
    """The layers of every model that is remembered, by `model_key`, beside those given.

    A file is read when its model is asked for; what can't be read is not there.
    """

    def __init__(self, layers: Mapping[str, Layers]) -> None:
        self._shipped = layers

    def __getitem__(self, key: str) -> Layers:
        if key in self._shipped:
            return self._shipped[key]
        record = _read(_path(key))
        if record is None:
            raise KeyError(key)
        return Layers(record.widths, tuple(record.short), tuple(record.modules))

    def __iter__(self) -> Iterator[str]:
        yield from self._shipped
        with suppress(OSError):
            yield from [record.key for record in map(_read, sorted(folder().glob("*.json"))) if record]

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _path(key: str) -> Path:
    import hashlib

    return folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def _read(path: Path) -> _Record | None:
    """Return the record in a file, unless it is damaged or of another version of the model's package."""
    with suppress(OSError, ValueError, RecursionError):
        content = path.read_bytes()
        record = msgspec.json.decode(content, type=_Record)
        if path == _path(record.key) and intact(content, record.key):
            return record if record.version == _version(record.source) else None
        report(path)
    return None


@cache
def _version(source: str) -> str | None:
    """Return the version of the package that a source is named after; None if there is none."""
    if source in _UNVERSIONED:
        return None
    return version(source) or None
