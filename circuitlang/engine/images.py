"""The images of a set: found, read, prepared for a network, hashed."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from circuitlang.compiler.plan import digest
from circuitlang.engine.contracts import Track, untracked
from circuitlang.engine.decode import decode, dimensions
from circuitlang.errors import Finding, InputError, listing
from circuitlang.source import read_bytes

S = TypeVar("S")
T = TypeVar("T")
# Bytes of prepared pictures that one set may keep in memory; beyond it they are decoded again for each pass.
_KEEP = 1 << 30
_CPU = torch.device("cpu")
# Images of more pixels, as they are stored or resized, take turns: together they would fill memory.
_LARGE = 8_000_000
# Pixels of a resized image: of a long one, a few pixels become many.
_MOST = 40_000_000
_TURN = Lock()
# Bytes of a file; more can't be the pixels that are allowed.
_LARGEST = 1 << 29
# Of red, green and blue on a scale of 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the network's input: resize the shorter side, crop the centre, normalise.

    `resize` and `crop` in pixels; `mean` and `std` of each of the network's channels, for most images on a scale of 0
    to 1.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: Image.Resampling = Image.Resampling.BILINEAR

    @property
    def channels(self) -> int:
        """The number of channels that the network takes."""
        return len(self.mean)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Of each channel the values that are shown black and white: 0 and 1, or, where `mean` and `std` are on another
        scale, two standard deviations below and above the mean."""
        if self._unit:
            return torch.zeros(self.channels), torch.ones(self.channels)
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return mean - 2 * std, mean + 2 * std

    @property
    def _unit(self) -> bool:
        """Whether mean and standard deviation are those of values from 0 to 1."""
        return all(0 <= each <= 1 for each in self.mean) and all(each <= 1 for each in self.std)

    def read(self, content: bytes) -> NDArray[Any]:
        """The resized and cropped image of a file's content; see `prepare`. Raises ValueError saying what is wrong."""
        size = dimensions(content, self.channels)
        most = max(math.prod(size), math.prod(self._resized(size)))
        with _TURN if most > _LARGE else nullcontext():
            return self.prepare(decode(content, self.channels))

    def prepare(self, bands: Iterable[Image.Image]) -> NDArray[Any]:
        """The resized and cropped bands, [crop, crop, channels]: uint8, or float32 if that is what they hold."""
        found = [self._cut(band) for band in bands]
        values = np.concatenate(found, 2) if len(found) > 1 else found[0]
        if values.dtype != np.uint8 and self._unit and any(self.mean):
            low, high = float(values.min()), float(values.max())
            if not -0.5 <= low <= high <= 1.5:
                cure = "divide them, or say mean= and std= of such values"
                raise ValueError(f"its values go from {low:g} to {high:g}, but mean and std are for 0 to 1: {cure}")
        return values

    def _cut(self, band: Image.Image) -> NDArray[Any]:
        size = self._resized(band.size)
        band = band.resize(size, self.resample) if size != band.size else band
        left, top = round((size[0] - self.crop) / 2), round((size[1] - self.crop) / 2)
        values = np.array(band.crop((left, top, left + self.crop, top + self.crop)))
        return values if values.ndim == 3 else values[..., None]

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height after resizing. Raises ValueError where the longer side would become too long."""
        width, height = size
        # As torchvision: the longer side is cut to whole pixels.
        scale = self.resize / min(width, height)
        wide, high = (max(self.resize, int(each * scale)) for each in size)
        if wide * high > _MOST:
            limit = f"{wide} x {high}, which is more than {_MOST // 10**6} million pixels"
            raise ValueError(f"{width} x {height} pixels would be resized to {limit}")
        return (self.resize, high) if width <= height else (wide, self.resize)

    def normalise(self, images: Tensor) -> Tensor:
        """Images [N, H, W, C], uint8 or float32, as the network's float32 input [N, C, H, W]."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return _floats(images).sub(mean).div_(std).permute(0, 3, 1, 2).contiguous()

    def shown(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """An image [H, W, C] as a person is shown it, uint8 [H, W, 3].

        One channel is grey, and so is the mean of two; of more the first three are red, green and blue.
        """
        channels = image.shape[2]
        if image.dtype == np.uint8 and channels >= 3:
            return np.asarray(image[..., :3], np.uint8)
        low, high = (each.numpy() for each in self.bounds)
        shares = image / np.float32(255) if image.dtype == np.uint8 else (image - low) / (high - low)
        some = shares[..., :3] if channels >= 3 else shares.mean(2, keepdims=True).repeat(3, 2)
        return np.asarray(np.rint(some.clip(0, 1) * 255), np.uint8)


def _floats(images: Tensor) -> Tensor:
    """Numbers of 8 bits on a scale of 0 to 1; floats as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class Pictures:
    """A set of readable pictures; `digests[i]` is the hash of the file at `paths[i]`."""

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    preprocess: Preprocess
    prepared: tuple[NDArray[Any], ...] = ()
    batch_size: int = 16
    device: torch.device = _CPU
    track: Track = untracked

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def digest(self) -> str:
        """A hash of what is in the set, in order and repetitions included, wherever it lies."""
        return digest("\n".join(self.digests).encode())

    def picture(self, index: int) -> NDArray[np.uint8]:
        """One image as a person is shown it, resized and cropped, uint8 [H, W, 3]."""
        return self.preprocess.shown(self.values(index))

    def values(self, index: int) -> NDArray[Any]:
        """One image, resized and cropped, [H, W, C] in uint8 or float32."""
        if self.prepared:
            return self.prepared[index]
        try:
            content = read_bytes(self.paths[index], _LARGEST)
        except OSError:
            content = b""
        if digest(content) != self.digests[index]:
            label = "what it held before is used in part of the results"
            raise InputError(Finding("E303", f"{self.paths[index].name} changed during the run", None, label))
        return self.preprocess.read(content)

    def batches(self, label: str) -> Iterator[Tensor]:
        """The network's input [N, C, H, W], batch by batch, in the order of the set."""

        def inputs(start: int) -> Tensor:
            some = range(start, min(start + self.batch_size, len(self)))
            # Normalised here, so that an image is the same to the bit on every device.
            return self.preprocess.normalise(torch.stack([_floats(torch.from_numpy(self.values(i))) for i in some]))

        def each() -> Iterator[Tensor]:
            starts = range(0, len(self), self.batch_size)
            # What isn't kept is decoded while the batch before it is computed with.
            for batch in map(inputs, starts) if self.prepared else _beforehand(inputs, starts, 1):
                yield batch.to(self.device)

        return self.track(each(), label, math.ceil(len(self) / self.batch_size))

    def take(self, indices: Sequence[int]) -> Pictures:
        """The pictures at some positions, as a set."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            digests=tuple(self.digests[i] for i in indices),
            prepared=tuple(self.prepared[i] for i in indices) if self.prepared else (),
        )

    def split(self, share: float, seed: int) -> tuple[Pictures, Pictures | None]:
        """The set less a share that is held out, drawn by `seed`, and that share; at least one picture each.

        Copies of one picture stay together, or the held-out part would hold nothing out.
        """
        groups = sorted(set(self.digests))
        count = held_out(share, len(groups))
        if count == 0:
            return self, None
        out = set(Random(seed).sample(groups, count))
        held = [index for index, each in enumerate(self.digests) if each in out]
        kept = [index for index, each in enumerate(self.digests) if each not in out]
        return self.take(kept), self.take(held)


def held_out(share: float, count: int) -> int:
    """How many of `count` different pictures are held out: a share, but at least one on each side if there is any."""
    return max(min(max(round(share * count), 1), count - 1), 0) if share else 0


def load(paths: Iterable[Path], preprocess: Preprocess, skip_unreadable: bool = False) -> tuple[Pictures, list[str]]:
    """Read every picture once: a set, and what is wrong with those that are left out.

    Raises InputError naming all unreadable pictures at once, unless they are to be skipped.
    """
    good: list[Path] = []
    digests: list[str] = []
    prepared: list[NDArray[Any]] = []
    bad: list[tuple[str, str]] = []
    kept = 0
    for path, read in _beforehand(partial(_read, preprocess), paths, _threads()):
        if isinstance(read, str):
            bad.append((path.name, read))
            continue
        picture, content = read
        good.append(path)
        digests.append(content)
        kept += picture.nbytes
        if kept <= _KEEP:
            prepared.append(picture)
    if bad and not skip_unreadable:
        message = f"{len(bad)} of {len(bad) + len(good)} pictures can't be read"
        cure = "take them out with 'except', or run with --skip-unreadable"
        raise InputError(Finding("E303", message, None, _by_reason(bad), cure))
    if not good:
        raise InputError(Finding("E303", "none of the pictures can be read", None, _by_reason(bad)))
    pictures = Pictures(tuple(good), tuple(digests), preprocess, tuple(prepared) if kept <= _KEEP else ())
    return pictures, [f"{name}: {reason}" for name, reason in bad]


def _by_reason(bad: Sequence[tuple[str, str]]) -> str:
    """What is wrong with pictures, once for all with which it is the same."""
    names: dict[str, list[str]] = {}
    for name, reason in bad:
        names.setdefault(reason, []).append(name)
    more = {reason: f" and {len(some) - 1} more" if len(some) > 1 else "" for reason, some in names.items()}
    return listing([f"{some[0]}{more[reason]}: {reason}" for reason, some in names.items()])


def _read(preprocess: Preprocess, path: Path) -> tuple[Path, tuple[NDArray[Any], str] | str]:
    """A picture as a network takes it and the hash of its file, or what is wrong with it."""
    try:
        content = read_bytes(path, _LARGEST)
        return path, (preprocess.read(content), digest(content))
    except (OSError, ValueError, MemoryError) as error:
        return path, error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _beforehand(make: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[T]:
    """What is made of each item, in their order, by threads that are a few items ahead of whoever asks."""
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
    """As many as decode pictures at once: decoders let other threads run."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 8)
