"""A model as its source loads it, and the paths that a source may read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.plugins.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PathResolver:
    """Resolves paths of a spec against its folder.

    `allow_code` says whether code that the spec names may run. `images` is the shape (channels, height, width) of
    images if the model statement gives one.
    """

    folder: Path
    allow_code: bool = False
    images: tuple[int, int, int] | None = None

    def __call__(self, path: str) -> Path:
        return self.folder / path


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights and preprocessing. It need not be in evaluation mode, and is never changed.

    `weights` is the name of its weights: a file name, or the name of published weights if the spec says DEFAULT.
    `classes` are the class names of these weights, and `output` is the number or name of the output that has them, if
    there are several. `notes` tell the user about choices that were made in loading. `files` are those that all of it
    follows from, beside the code of the source's package, also if they are not there yet; None if that is not known.
    """

    module: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...] = ()
    weights: str = ""
    output: int | str | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] | None = None
