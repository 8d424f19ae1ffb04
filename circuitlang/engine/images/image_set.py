"""Sets of images, read, hashed and prepared for a network in batches."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.base.source import read_bytes
from circuitlang.engine.images import preprocessing
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.images.transformation import transformed
from circuitlang.plan.model import Choice, digest
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.progress import TrackProgress, no_progress

S = TypeVar("S")
T = TypeVar("T")
# Bytes of prepared images that one set may keep in memory; beyond it they are decoded again for each pass.
KEEP = 1 << 30
_CPU = torch.device("cpu")
# Bytes of a file; more can't be the pixels that are allowed.
LARGEST = 1 << 29


@dataclass(frozen=True)
class ImageSet(HashedImages):
    """A set of readable images, prepared for a network."""

    preprocess: Preprocess
    prepared: tuple[NDArray[Any], ...] = ()
    batch_size: int = 16
    device: torch.device = _CPU
    track: TrackProgress = no_progress
    transforms: tuple[Choice, ...] = ()

    def rgb(self, index: int) -> NDArray[np.uint8]:
        """Return one image as a person is shown it, resized and cropped, uint8 [H, W, 3]."""
        return preprocessing.shown(self.preprocess, self.values(index))

    def values(self, index: int) -> NDArray[Any]:
        """Return one image, resized and cropped, [H, W, C] in uint8 or float32."""
        if self.prepared:
            return self.prepared[index]
        try:
            content = read_bytes(self.paths[index], LARGEST)
        except OSError:
            content = b""
        own = digest(content)
        if own != self.contents[index]:
            label = "what it held before is used in part of the results"
            raise InputError(Finding("E303", f"{self.paths[index].name} changed during the run", None, label))
        return transformed(preprocessing.read(self.preprocess, content), self.transforms, own)

    def batches(self, label: str) -> Iterator[Tensor]:
        """Yield the network's input [N, C, H, W], batch by batch, in the order of the set."""

        def inputs(start: int) -> Tensor:
            indices = range(start, min(start + self.batch_size, len(self)))
            # Normalised here, so that an image is the same to the bit on every device.
            return preprocessing.normalise(self.preprocess, _stack(self.values(i) for i in indices))

        def on_device() -> Iterator[Tensor]:
            starts = range(0, len(self), self.batch_size)
            # Images that are not kept are decoded while the batch before them is computed.
            for batch in map(inputs, starts) if self.prepared else _ahead(inputs, starts, 1):
                yield batch.to(self.device)

        return self.track(on_device(), label, math.ceil(len(self) / self.batch_size))

    def take(self, indices: Sequence[int]) -> ImageSet:
        """Return the images at some indices as a set."""
        prepared = tuple(self.prepared[i] for i in indices) if self.prepared else ()
        return replace(super().take(indices), prepared=prepared)

    def known_as(self, transforms: Sequence[Choice]) -> ImageSet:
        """Return the images, which were transformed, as known by the hashes of their files and by the transforms."""
        return replace(super().known_as(transforms), transforms=tuple(transforms))


def _stack(images: Iterable[NDArray[Any]]) -> Tensor:
    """Stack images of 8 bits, of floats, or of both as floats [N, H, W, C]."""
    return torch.stack([preprocessing.as_floats(torch.from_numpy(image)) for image in images])


def load(
    paths: Iterable[Path],
    preprocess: Preprocess,
    skip_unreadable: bool = False,
    transforms: Sequence[Choice] = (),
) -> tuple[ImageSet, list[str]]:
    """Read every image once, and transform it; return the set, and the problems of those that are left out.

    Raises InputError naming all unreadable images at once, unless they are to be skipped.
    """
    good: list[Path] = []
    digests: list[str] = []
    prepared: list[NDArray[Any]] = []
    bad: list[tuple[str, str]] = []
    kept = 0
    for path, read in _ahead(partial(_read, preprocess, transforms), paths, _threads()):
        if isinstance(read, str):
            bad.append((path.name, read))
            continue
        image, content = read
        good.append(path)
        digests.append(content)
        kept += image.nbytes
        if kept <= KEEP:
            prepared.append(image)
    if bad and not skip_unreadable:
        message = f"{len(bad)} of {len(bad) + len(good)} images can't be read"
        cure = "take them out with 'except', or run with --skip-unreadable"
        raise InputError(Finding("E303", message, None, _by_reason(bad), cure))
    if not good:
        raise InputError(Finding("E303", "none of the images can be read", None, _by_reason(bad)))
    images = ImageSet(tuple(good), tuple(digests), preprocess, tuple(prepared) if kept <= KEEP else ())
    return images.known_as(transforms), [f"{name}: {reason}" for name, reason in bad]


def _by_reason(bad: Sequence[tuple[str, str]]) -> str:
    """Return the problems of images, each once with the names of the images that have it."""
    names: dict[str, list[str]] = {}
    for name, reason in bad:
        names.setdefault(reason, []).append(name)
    more = {reason: f" and {len(files) - 1} more" if len(files) > 1 else "" for reason, files in names.items()}
    return listing([f"{files[0]}{more[reason]}: {reason}" for reason, files in names.items()])


def _read(
    preprocess: Preprocess, transforms: Sequence[Choice], path: Path
) -> tuple[Path, tuple[NDArray[Any], str] | str]:
    """Return an image as a network takes it and the hash of its file, or what is wrong with it."""
    try:
        content = read_bytes(path, LARGEST)
        own = digest(content)
        return path, (transformed(preprocessing.read(preprocess, content), transforms, own), own)
    except (OSError, ValueError, MemoryError) as error:
        return path, error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _ahead(make: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[T]:
    """Yield the result for each item in order, computed by threads that are a few items ahead."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _threads() -> int:
    """Return the number of threads that decode images at once: decoders release Python's lock."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 8)
