"""Pictures of every kind a folder holds, read right: found, decoded, prepared for a network, hashed."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from threading import Lock
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from circuitlang.compiler.plan import digest
from circuitlang.engine.contracts import Track, untracked
from circuitlang.errors import Finding, InputError, listing
from circuitlang.source import read_bytes

S = TypeVar("S")
T = TypeVar("T")
# A picture of more pixels is refused before it is decoded: it would fill memory, by malice or by mistake.
MAX_PIXELS = 80_000_000
# Bytes of a picture file; more can't be the pixels that are allowed.
_LARGEST = 1 << 30
# Bytes of prepared pictures that one set may keep in memory; beyond it they are decoded again for each pass.
_KEEP = 1 << 30
_CPU = torch.device("cpu")
# Warnings are switched off for a whole process, so that threads must take turns.
_OPENING = Lock()
# Of red, green and blue on a scale of 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input: resize the shorter side, crop the centre, normalise.

    `resize` and `crop` in pixels; `mean` and `std` of red, green and blue on a scale of 0 to 1.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Image.Resampling = Image.Resampling.BILINEAR

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The resized and cropped picture, uint8 [crop, crop, 3]."""
        width, height = picture.size
        scale = self.resize / min(width, height)
        # As torchvision: the longer side is cut to whole pixels, the crop's corner rounded.
        size = (
            (self.resize, max(self.resize, int(height * scale)))
            if width <= height
            else (max(self.resize, int(width * scale)), self.resize)
        )
        picture = picture.resize(size, self.resample) if size != picture.size else picture
        left, top = round((size[0] - self.crop) / 2), round((size[1] - self.crop) / 2)
        cropped = picture.crop((left, top, left + self.crop, top + self.crop))
        return np.asarray(cropped, dtype=np.uint8).copy()

    def normalise(self, pictures: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] as the network's float32 input [N, 3, H, W]."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return pictures.float().div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Pictures:
    """A set of readable pictures; `digests[i]` is the hash of the file at `paths[i]`."""

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    preprocess: Preprocess
    prepared: tuple[NDArray[np.uint8], ...] = ()
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
        """One picture, resized and cropped, uint8 [H, W, 3]."""
        if self.prepared:
            return self.prepared[index]
        return self.preprocess.prepare(decode(self.paths[index].read_bytes()))

    def batches(self, label: str) -> Iterator[Tensor]:
        """The network's input [N, 3, H, W], batch by batch, in the order of the set."""

        def inputs(start: int) -> Tensor:
            some = range(start, min(start + self.batch_size, len(self)))
            # Normalised here, so that a picture is the same to the bit on every device.
            return self.preprocess.normalise(torch.from_numpy(np.stack([self.picture(i) for i in some])))

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
    prepared: list[NDArray[np.uint8]] = []
    bad: list[str] = []
    room = _KEEP // (preprocess.crop * preprocess.crop * 3)
    for path, read in _beforehand(partial(_read, preprocess), paths, _threads()):
        if isinstance(read, str):
            bad.append(f"{path.name}: {read}")
            continue
        picture, content = read
        good.append(path)
        digests.append(content)
        if len(good) <= room:
            prepared.append(picture)
    if bad and not skip_unreadable:
        message = f"{len(bad)} of {len(bad) + len(good)} pictures can't be read"
        cure = "take them out with 'except', or run with --skip-unreadable"
        raise InputError(Finding("E303", message, None, listing(bad), cure))
    if not good:
        raise InputError(Finding("E303", "none of the pictures can be read", None, listing(bad)))
    return Pictures(tuple(good), tuple(digests), preprocess, tuple(prepared) if len(good) <= room else ()), bad


def _read(preprocess: Preprocess, path: Path) -> tuple[Path, tuple[NDArray[np.uint8], str] | str]:
    """A picture as a network takes it and the hash of its file, or what is wrong with it."""
    try:
        content = read_bytes(path, _LARGEST)
        return path, (preprocess.prepare(decode(content)), digest(content))
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


def decode(content: bytes) -> Image.Image:
    """A picture file as a person sees it: upright, in colour, on white where it is transparent.

    Grey, palette, CMYK, 16-bit and transparent pictures become 8-bit RGB; of an animation the first frame is taken.
    Raises ValueError saying what is wrong with the content.
    """
    try:
        # Pillow's own warning about large pictures is replaced by a refusal.
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content))
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS // 10**6} million")
        picture.load()
        return _rgb(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError:
        raise ValueError(f"it has more than {MAX_PIXELS // 10**6} million pixels") from None
    except UnidentifiedImageError:
        raise ValueError("empty" if not content else "not a picture") from None
    except ValueError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file drives them to
        raise ValueError(f"corrupt: {str(error) or type(error).__name__}") from None


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16 bits to 8: a plain conversion would clip everything above 255 to white.
        values = np.asarray(picture).astype(np.int64)
        scale = 257 if values.max(initial=0) > 255 or picture.mode.startswith("I;16") else 1
        return Image.fromarray((values // scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if "A" in picture.getbands() or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return picture.convert("RGB")
